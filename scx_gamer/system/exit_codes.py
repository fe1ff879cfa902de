# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit codes of every command and of the daemon: the values of sysexits.h where it has one."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2
NOT_RUNNING = 3  # as systemctl status
UNSUPPORTED = 69  # EX_UNAVAILABLE: the kernel or libbpf lacks a needed feature
INTERNAL = 70  # EX_SOFTWARE
NO_PERMISSION = 77  # EX_NOPERM
BAD_CONFIG = 78  # EX_CONFIG
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

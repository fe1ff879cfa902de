# SPDX-License-Identifier: GPL-2.0-or-later
"""The common start of every test, with any way of starting pytest."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # A shell's background job ignores SIGINT, one under nohup SIGHUP; what is ignored stays so in every child.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

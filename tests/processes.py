# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that tests started."""

from __future__ import annotations

import subprocess


def end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ask it to end, make it end after a while; it is reaped then."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(patience_s)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that tests start."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def running(
    command: Sequence[str | os.PathLike[str]], **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a program, with the options of Popen; kill it and wait for its end when the block ends.

    Popen's own context manager waits and kills nothing: where an assertion fails, it waits for ever beside a hog.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


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

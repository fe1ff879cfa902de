# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are replaced as a whole, and the short ones of /proc and sysfs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def read_text(path: Path | str) -> str | None:
    """Return the text of a short file, without blanks around it; None if it is unreadable."""
    try:
        with open(path, "rb") as file:
            return file.read(4096).decode("utf-8", "replace").strip()
    except OSError:
        return None


def read_number(path: Path | str) -> int | None:
    """Return the number in a file; None if it is unreadable or holds no decimal digits alone."""
    text = read_text(path) or ""
    return int(text) if text.isascii() and text.isdecimal() else None


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Yield a descriptor of a directory. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def write_atomic(path: Path, data: bytes, mode: int, *, sync: bool) -> None:
    """Replace `path` with a file of `data` as a whole or not at all; with `sync`, on disk before it returns.

    Raises OSError, and then leaves no temporary file behind.
    """
    temporary = f"{path}.tmp"
    # Remove the rest of an unclean end, or a link that an attacker put there; O_EXCL then accepts only a new file.
    _remove(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode)
    try:
        try:
            os.fchmod(fd, mode)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        _remove(temporary)
        raise
    if sync:
        with open_directory(path.parent) as directory:
            os.fsync(directory)

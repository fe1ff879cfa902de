# SPDX-License-Identifier: GPL-2.0-only
"""One supervisor at a time: a lock on the runtime directory itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import NO_PERMISSION


class InstanceError(ScxGamerError):
    """The lock cannot be had: another supervisor runs, or the directory is unusable."""

    code = NO_PERMISSION


class Instance:
    """Holds the lock until close(); raises InstanceError when somebody else holds it."""

    def __init__(self, directory: Path) -> None:
        self._fd: int | None = None
        # systemd may recreate the directory between our open and our flock: then the lock is on
        # a directory nobody else will look at, so look once more
        for _ in range(3):
            fd = self._open(directory)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ours, there = os.fstat(fd), os.stat(directory)
            except BlockingIOError as err:
                os.close(fd)
                raise InstanceError(
                    f"another supervisor holds {directory}",
                    err.errno or 0,
                    "see `scx-gamer status`, or stop the service first",
                ) from err
            except OSError as err:
                os.close(fd)
                raise InstanceError(
                    f"cannot lock {directory}: {err.strerror}", err.errno or 0, "run as root"
                ) from err
            if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
                self._fd = fd
                return
            os.close(fd)
        raise InstanceError(f"{directory} keeps being replaced", 0, "stop what recreates it")

    @staticmethod
    def _open(directory: Path) -> int:
        try:
            return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as err:
            raise InstanceError(
                f"cannot open {directory}: {err.strerror}", err.errno or 0, "run as root"
            ) from err

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock that allows one supervisor at a time: flock(2) on the runtime directory itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from scx_gamer.system.closing import FdOwner
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import NO_PERMISSION

_MAX_ATTEMPTS = 3


class InstanceError(ScxGamerError):
    """A lock that could not be taken: another supervisor runs, or the directory is unusable."""

    code = NO_PERMISSION


class Instance(FdOwner):
    """The lock, held until close(). Raises InstanceError when another process holds it."""

    def __init__(self, directory: Path) -> None:
        # systemd may recreate the directory between open and flock. The lock is then on a directory
        # that no other process can open any more, so compare the inodes and try again.
        for _ in range(_MAX_ATTEMPTS):
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
        raise InstanceError(
            f"{directory} was replaced {_MAX_ATTEMPTS} times while it was being locked",
            0,
            "stop the program that recreates it",
        )

    @staticmethod
    def _open(directory: Path) -> int:
        try:
            return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as err:
            raise InstanceError(
                f"cannot open {directory}: {err.strerror}", err.errno or 0, "run as root"
            ) from err

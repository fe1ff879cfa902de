# SPDX-License-Identifier: GPL-2.0-only
"""Where the supervisor keeps things; the only places it writes to."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError

NAME = "scx-gamer"


class PathError(ScxGamerError):
    """A directory that cannot be used."""


@dataclass(frozen=True)
class Paths:
    """The three directories, each absolute."""

    runtime: Path
    state: Path
    config: Path

    @cached_property
    def control_socket(self) -> Path:
        return self.runtime / "control.sock"

    @cached_property
    def hints_socket(self) -> Path:
        return self.runtime / "hints.sock"

    @cached_property
    def status_file(self) -> Path:
        return self.runtime / "status.json"

    @cached_property
    def hud_file(self) -> Path:
        return self.runtime / "hud"

    @cached_property
    def state_file(self) -> Path:
        return self.state / "state.json"

    @cached_property
    def exits(self) -> Path:
        return self.state / "exits"

    def create(self) -> None:
        """Make the runtime and the state directory; raises PathError."""
        for path, mode in ((self.runtime, 0o755), (self.state, 0o755), (self.exits, 0o750)):
            try:
                path.mkdir(mode=mode, parents=True, exist_ok=True)
            except OSError as err:
                raise PathError(
                    f"cannot make {path}: {err.strerror}", err.errno or 0, "run as root"
                ) from err


def _one(variable: str, systemd: str | None, default: str) -> Path:
    value = os.environ.get(variable)
    if not value and systemd:
        # systemd lists several directories with colons: ours is the first
        value = os.environ.get(systemd, "").split(":")[0]
    path = Path(value or default)
    if not path.is_absolute():
        raise PathError(f"{variable}={path} is relative", hint="give an absolute path")
    return path


def paths() -> Paths:
    """Directories by environment, systemd's variables, or the defaults; raises PathError."""
    return Paths(
        runtime=_one("SCX_GAMER_RUNTIME_DIR", "RUNTIME_DIRECTORY", f"/run/{NAME}"),
        state=_one("SCX_GAMER_STATE_DIR", "STATE_DIRECTORY", f"/var/lib/{NAME}"),
        config=_one("SCX_GAMER_CONFIG_DIR", "CONFIGURATION_DIRECTORY", f"/etc/{NAME}"),
    )


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def write_atomic(path: Path, data: bytes, mode: int, *, sync: bool) -> None:
    """Replace `path` as a whole or not at all; raises OSError and leaves no rest behind."""
    temporary = f"{path}.tmp"
    # What an unclean end left there goes, and so does a link that somebody put there; then only a new file will do.
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
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

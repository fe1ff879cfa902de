# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories and files of the supervisor. It writes to no others."""

from __future__ import annotations

import os
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError

NAME = "scx-gamer"
_TREE = Path(__file__).resolve().parents[2]


def checkout_variable(variable: str) -> str:
    """Return a variable that tests set; empty in an installed build, which loads no file but its own."""
    return os.environ.get(variable, "") if (_TREE / "pyproject.toml").is_file() else ""


class PathError(ScxGamerError):
    """A directory that is unusable: what failed, errno (0 if none), what to do."""


class Paths:
    """The three directories, each absolute, and the files in them."""

    def __init__(self, runtime: Path, state: Path, config: Path) -> None:
        self.runtime, self.state, self.config = runtime, state, config
        self.control_socket = runtime / "control.sock"
        self.hints_socket = runtime / "hints.sock"
        self.status_file = runtime / "status.json"
        self.hud_file = runtime / "hud"
        self.state_file = state / "state.json"
        self.sessions_file = state / "sessions.db"
        self.tuning_file = state / "tuning.json"
        self.units_file = state / "units.json"
        self.exits = state / "exits"

    def create(self) -> None:
        """Create the runtime and the state directory. Raises PathError."""
        for path, mode in ((self.runtime, 0o755), (self.state, 0o755), (self.exits, 0o750)):
            try:
                path.mkdir(mode=mode, parents=True, exist_ok=True)
            except OSError as err:
                raise PathError(
                    f"cannot create {path}: {err.strerror}", err.errno or 0, "run as root"
                ) from err


def _directory(variable: str, systemd: str | None, default: str) -> Path:
    value = os.environ.get(variable)
    if not value and systemd:
        # systemd separates several directories by colons; the unit names ours first
        value = os.environ.get(systemd, "").split(":")[0]
    path = Path(value or default)
    if not path.is_absolute():
        raise PathError(f"{variable}={path} is relative", hint="set an absolute path")
    return path


def paths() -> Paths:
    """Return the directories: from our variables, else systemd's, else the defaults. Raises PathError."""
    return Paths(
        runtime=_directory("SCX_GAMER_RUNTIME_DIR", "RUNTIME_DIRECTORY", f"/run/{NAME}"),
        state=_directory("SCX_GAMER_STATE_DIR", "STATE_DIRECTORY", f"/var/lib/{NAME}"),
        config=_directory("SCX_GAMER_CONFIG_DIR", "CONFIGURATION_DIRECTORY", f"/etc/{NAME}"),
    )

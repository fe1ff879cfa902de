# SPDX-License-Identifier: GPL-2.0-or-later
"""run, loader: the daemons in the foreground."""

from __future__ import annotations

from pathlib import Path

from scx_gamer.cli.commands import UsageError
from scx_gamer.dbus import BusError
from scx_gamer.system.exit_codes import OK


def run(mode: str | None, config: str | None, give_back: bool = False) -> int:
    """Run the supervisor until SIGTERM or SIGINT."""
    if give_back:
        return _give_back()
    from scx_gamer.config.settings import MODES, load

    if mode is not None and mode not in MODES:
        raise UsageError(f"--mode is {mode!r}; use auto or always")
    settings = load(None if config is None else Path(config))
    if mode is not None:
        settings = settings.with_mode(mode)
    from scx_gamer.libbpf import shipped_abi
    from scx_gamer.service import supervisor

    settings.check_tunables(shipped_abi().constants)
    return supervisor.main(settings)


def _give_back() -> int:
    """End what outlived a supervisor, unless another one runs, whose it is."""
    from scx_gamer.dbus.units import give_back
    from scx_gamer.system.lock import Instance
    from scx_gamer.system.paths import paths
    from scx_gamer.system.procfs import boot_id

    where = paths()
    where.create()
    with Instance(where.runtime):
        why = give_back(where.units_file, boot_id())
    if why:
        raise BusError(why, hint="the next start of the supervisor tries it again")
    return OK


def loader(scheduler: str | None) -> int:
    """Answer org.scx.Loader until SIGTERM or SIGINT, or until another program wants the name."""
    from scx_gamer.dbus import loader as service

    return service.main(scheduler or service.OURS)

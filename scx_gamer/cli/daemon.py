# SPDX-License-Identifier: GPL-2.0-or-later
"""run, loader: the daemons in the foreground."""

from __future__ import annotations

from pathlib import Path

from scx_gamer.cli.commands import UsageError


def run(mode: str | None, config: str | None) -> int:
    """Run the supervisor until SIGTERM or SIGINT."""
    from scx_gamer.config.settings import MODES, load

    if mode is not None and mode not in MODES:
        raise UsageError(f"--mode is {mode!r}; use auto or always")
    settings = load(None if config is None else Path(config))
    if mode is not None:
        settings = settings.with_mode(mode)
    from scx_gamer.libbpf import Abi, find_object, object_btf
    from scx_gamer.service import supervisor

    settings.check_tunables(Abi(object_btf(find_object("observe"))).constants)
    return supervisor.main(settings)


def loader(scheduler: str | None) -> int:
    """Answer org.scx.Loader until SIGTERM or SIGINT, or until another program wants the name."""
    from scx_gamer.dbus import loader as service

    return service.main(scheduler or service.OURS)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Others who load schedulers or change priorities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scx_gamer.doctor.model import FAIL, OK, WARN, Finding
from scx_gamer.scheduler import sysfs
from scx_gamer.system import procfs
from scx_gamer.system.exit_codes import NO_PERMISSION
from scx_gamer.system.text import printable

# first 15 characters, as /proc/PID/comm has them
_RENICERS = {
    "ananicy-cpp": "ananicy-cpp",
    "ananicy": "ananicy",
    "system76-schedu": "system76-scheduler",
    "gamemoded": "gamemode",
}


def other_scheduler() -> Iterator[Finding]:
    """Report a loaded scheduler that is not ours."""
    name = sysfs.loaded()
    if name and name != sysfs.OURS:
        what = f"{printable(name, 64)} is loaded: only one scheduler can be"
        to_do = "end it first: systemctl stop scx.service scx_loader.service, or end the program"
        yield Finding(FAIL, "another scheduler", what, to_do, NO_PERMISSION)
    else:
        yield Finding(OK, "another scheduler", "none" if not name else "ours is loaded")


def scheduler_services(proc: Path = procfs.PROC) -> Iterator[Finding]:
    """Report programs that load a scheduler of their own on request."""
    running = {c for c in commands(proc) if c.startswith("scx_") and c != sysfs.OURS}
    for name in sorted(running):
        what = f"{printable(name)} runs and may load another scheduler"
        to_do = "turn it off while you use scx-gamer: systemctl disable --now scx_loader scx"
        yield Finding(WARN, "scheduler services", what, to_do)
    if not running:
        yield Finding(OK, "scheduler services", "none runs")


def renicers(proc: Path = procfs.PROC) -> Iterator[Finding]:
    """Report daemons that change nice values."""
    running = {_RENICERS[name] for name in commands(proc) if name in _RENICERS}
    for name in sorted(running):
        to_do = f"stop {name} while you use scx-gamer, or tell it to leave games alone"
        yield Finding(WARN, "renicing daemons", f"{name} runs and changes nice values", to_do)
    if not running:
        yield Finding(OK, "renicing daemons", "none runs")


def commands(proc: Path = procfs.PROC) -> set[str]:
    """Return the names of all processes, as /proc/PID/comm has them."""
    return {procfs.comm_of(pid, proc) for pid in procfs.pids(proc)}

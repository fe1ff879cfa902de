# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of our parts: configuration, profiles, detection rules, the supervisor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from scx_gamer import control
from scx_gamer.config.settings import ConfigError, load, tunable_limits
from scx_gamer.control.gpu import gpu_text
from scx_gamer.doctor import privileges
from scx_gamer.doctor.model import FAIL, INFO, OK, WARN, Finding
from scx_gamer.libbpf import shipped_abi
from scx_gamer.system.exit_codes import BAD_CONFIG, NOT_RUNNING
from scx_gamer.system.paths import paths
from scx_gamer.system.text import printable

# States of a running supervisor that want somebody's attention.
_STATES = {
    "off": "it was switched off and stays so: scx-gamer start",
    "backoff": "it tries again by itself; if it goes on so: scx-gamer report",
    "fallback": "it gave up after repeated failures: scx-gamer report, then scx-gamer start",
    "conflict": "end the other scheduler: ours follows within seconds",
}


def detection() -> Iterator[Finding]:
    """Check the detection lists, and the fallback if the kernel rejects the hooks."""
    from scx_gamer.games import desktop
    from scx_gamer.games.detector import shipped_data
    from scx_gamer.games.process_events import connector_problem

    data, broken = shipped_data()
    games, _programs = desktop.desktop_games(desktop.folders())
    if broken:
        yield Finding(WARN, "game detection", broken, "the drop-ins of detect.d are not used")
    else:
        names = len(data.wine_plumbing) + len(data.wrappers) + len(data.helpers) + len(data.tools)
        what = f"{names} programs known that are no game, {len(games)} desktop entries that are"
        yield Finding(OK, "game detection", what)
    why = connector_problem()
    if why:
        yield Finding(INFO, "proc connector", why, "without BPF hooks, processes would be polled")
    else:
        yield Finding(OK, "proc connector", "can stand in for the BPF hooks")


def configuration() -> Iterator[Finding]:
    """Check the files in /etc."""
    try:
        settings = load()
        settings.check_tunables(shipped_abi().constants)
    except ConfigError as error:
        what = f"{error.where}: {error.what}"
        yield Finding(FAIL, "configuration", what, error.hint, BAD_CONFIG)
        return
    yield Finding(OK, "configuration", f"{len(settings.files)} file(s), mode {settings.mode}")


def supervisor() -> Iterator[Finding]:
    """Report whether a supervisor runs, and what it alone knows, from one status."""
    try:
        status = control.request("status", timeout_s=5.0)
    except control.ControlError as error:
        if error.code != NOT_RUNNING:
            to_do = error.hint or "see its log: journalctl -u scx-gamer"
            yield Finding(WARN, "supervisor", error.what, to_do)
            return
        to_do = "systemctl start scx-gamer, or scx-gamer run as root"
        yield Finding(INFO, "supervisor", "not running", to_do)
        if paths().units_file.exists():
            what = "a supervisor that was killed has left properties of units as they were for its game"
            yield Finding(WARN, "resources", what, "run as root: scx-gamer run --give-back")
        return
    for check in (_state, _power, _resources, _game, privileges.privileges, _profile, sessions):
        yield from check(status)


def _state(status: Mapping[str, Any]) -> Iterator[Finding]:
    state, cause = status.get("state"), printable(str(status.get("cause", "")), 200)
    to_do = _STATES.get(str(state))
    if to_do:
        yield Finding(WARN, "supervisor", f"{state}: {cause}", to_do)
    else:
        yield Finding(OK, "supervisor", f"{state}: {cause}")


def _power(status: Mapping[str, Any]) -> Iterator[Finding]:
    power = status.get("power") or {}
    if held := power.get("held"):
        yield Finding(OK, "power profile", f"{printable(str(held), 32)} is held for the game")
    elif power.get("why"):
        to_do = "install power-profiles-daemon or tuned-ppd, or set power.profile to none"
        yield Finding(INFO, "power profile", printable(str(power["why"]), 200), to_do)
    if power.get("source_why"):
        to_do = "install upower, or set power.on_battery to none"
        yield Finding(INFO, "power source", printable(str(power["source_why"]), 200), to_do)


def _resources(status: Mapping[str, Any]) -> Iterator[Finding]:
    resources = status.get("resources") or {}
    for row in resources.get("held", ()):
        unit, name, value = (row.get(key) for key in ("unit", "property", "value"))
        text = f"{name}={value} of {unit} is held for the game"
        yield Finding(OK, "resources", printable(text, 200))
    if why := resources.get("why"):
        to_do = (
            "as the service's own user it needs /usr/share/scx-gamer/polkit/scx-gamer-units.rules"
            " in /etc/polkit-1/rules.d"
        )
        yield Finding(INFO, "resources", printable(str(why), 200), to_do)


def _game(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Report facts of the running game that this machine does not tell."""
    if not status.get("games"):
        return
    if why := (status.get("detection") or {}).get("threads_why"):
        to_do = "these roles go by names; docs/detection.md says what such a hook takes"
        yield Finding(INFO, "game's threads", printable(str(why), 500), to_do)
    gpu = (status.get("frames") or {}).get("gpu") or {}
    if gpu.get("jobs"):
        yield Finding(OK, "game's GPU", gpu_text(gpu["busy"]))
    elif gpu:
        why = printable(str(gpu["why"] or "it had no job of the game in ten seconds"), 200)
        yield Finding(INFO, "game's GPU", f"not known: {why}", "docs/frames.md has the drivers")


def sessions(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Report the state of the database of sessions, as the running supervisor writes it."""
    if not (found := status.get("sessions")):
        return
    if error := found.get("error"):
        what, to_do = printable(str(error), 200), "free space in /var/lib/scx-gamer, or repair it"
        yield Finding(WARN, "sessions", what, to_do)
    elif not found.get("keep"):
        yield Finding(INFO, "sessions", "not recorded", 'sessions.keep = "on" in config.toml')
    else:
        what = f"{found.get('recorded', 0)} recorded, {found.get('running', 0)} running"
        yield Finding(OK, "sessions", what)


def profiles() -> Iterator[Finding]:
    """Check the profiles, shipped and in /etc."""
    from scx_gamer import profiles as room

    limits = tunable_limits(shipped_abi().constants)
    found = room.load(limits, *room.folders())
    for error in (*found.errors, *room.check_set(found)):
        yield Finding(FAIL, "profiles", f"{error.where}: {error.what}", error.hint, BAD_CONFIG)
    if found.profiles:
        yield Finding(OK, "profiles", f"{len(found.profiles)} usable")
    else:
        yield Finding(WARN, "profiles", "none found", "reinstall scx-gamer")
        return
    with suppress(ConfigError):  # said already
        if (name := load().on_battery) not in {"none", *found.profiles}:
            what = f"power.on_battery is {printable(name)}, which is no profile"
            yield Finding(WARN, "profiles", what, "scx-gamer profiles list has the names")


def _profile(status: Mapping[str, Any]) -> Iterator[Finding]:
    profile = status.get("profile") or {}
    if active := profile.get("active"):
        yield Finding(OK, "profile", f"{printable(str(active), 64)} is active")
    for name, why in dict(profile.get("disabled", {})).items():
        to_do = "report it with `scx-gamer status`; `scx-gamer profiles set` tries it again"
        yield Finding(WARN, "profile", f"{name} is disabled: {why}", to_do)

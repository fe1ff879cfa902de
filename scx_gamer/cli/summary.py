# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of `status` for a player: what runs, since when and why, what it did, what is wrong and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scx_gamer.control.gpu import gpu_text
from scx_gamer.control.placement import placement_text
from scx_gamer.system.histogram import percentile_us
from scx_gamer.system.text import ago, printable, time_text

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import ComparisonFacts, FrameFacts, GameFacts, SnapshotBody

_LABEL = 10
_P99 = 0.99
_GAMES = ("game", "critical")
_OTHERS = ("normal", "background")
_TO_DO = {
    "off": "`scx-gamer start` switches it on",
    "fallback": "`scx-gamer start` tries again; `scx-gamer report` collects what a bug report needs",
    "conflict": "stop the other scheduler: ours follows within seconds",
    "unsupported": "`scx-gamer doctor` says what is missing",
}


def lines(now: SnapshotBody, width: int) -> list[str]:
    """Return `label  text` lines of at most `width` columns; a longer text goes on below itself."""
    found = []
    for label, text in _facts(now):
        found += textwrap.wrap(
            f"{label:<{_LABEL}}{printable(text, 400)}",
            max(width, 2 * _LABEL),
            subsequent_indent=" " * _LABEL,
            break_on_hyphens=False,
        )
    return found


def _side(compared: ComparisonFacts) -> str:
    """Return what holds in the block that runs; a supervisor before `tune` tells of no trial."""
    tried = ", ".join(f"{name} = {value}" for name, value in compared.get("trial", {}).items())
    return f"with {tried}" if tried else f"{compared['side']} the scheduler"


def _facts(now: SnapshotBody) -> Iterator[tuple[str, str]]:
    yield "state", _state(now)
    yield "game", _game(now.get("games") or ()) + _settings(now)
    if now.get("scheduler"):
        yield "waits", _waits(now)
    if frames := now.get("frames"):
        yield "frames", _frames(frames)
    if (
        (placed := now.get("placement"))
        and placed["home_s"]
        and (placed["home"] or placed["shield_s"])
    ):
        yield "placed", placement_text(placed)
    yield "input", _input(now)
    yield "held back", _held_back(now)
    wrong = list(_wrong(now))
    yield "wrong", wrong[0] if wrong else "nothing"
    for text in wrong[1:]:
        yield "", text


def _state(now: SnapshotBody) -> str:
    cause = f": {now['cause']}" if now.get("cause") else ""
    text = f"{now.get('state', 'starting')} for {ago(now.get('since_s') or 0)}{cause}"
    if compared := now.get("comparison"):
        text += (
            f"; compared for {ago(compared['since_s'])}, pair {compared['pair']} of blocks,"
            f" now {_side(compared)}"
        )
    return text


def _settings(now: SnapshotBody) -> str:
    """Return what is in force for the game, as the end of its line: profiles, of power too, and units' properties."""
    text = ""
    profile = now.get("profile")
    if profile and profile["settings"]:  # one without any changes nothing
        why = f" ({profile['why']})" if profile["why"] else ""
        text = f"; profile {profile['active']}{why}"
    if (power := now.get("power")) and power["wanted"]:
        held = f"{power['held']} held" if power["held"] else power["why"] or "asked for"
        text += f"; power profile {held}"
    if resources := now.get("resources"):
        names = " and ".join(dict.fromkeys(str(row["property"]) for row in resources["held"]))
        if names:
            text += f"; {names} held"
        elif resources["why"]:
            text += f"; {resources['why']}"
    return text


def _game(games: Sequence[GameFacts]) -> str:
    if not games:
        return "none runs; `scx-gamer games why` tells why one is not recognised"
    first = next((game for game in games if game["active"]), games[0])
    name = first["name"] or first["comm"]
    more = f"; {len(games) - 1} more: `scx-gamer games list`" if len(games) > 1 else ""
    return f"{name} for {ago(first['since_s'])}, {first['processes']} processes: {first['reason']}{more}"


def _waits(now: SnapshotBody) -> str:
    """Compare the waits for a CPU of the game's classes with those of all others, since the supervisor's start."""
    stats, live = now.get("cpu_stats") or {}, now["scheduler"]
    names = list(live["tasks"]) if live else []
    counts, longest = stats.get("wait_hist", []), stats.get("wait_max_ns", [])
    size = len(counts) // max(len(names), 1)

    def of(chosen: Sequence[str]) -> str:
        numbers = [i for i, name in enumerate(names) if name in chosen and i < len(longest)]
        waits = [sum(counts[i * size + bucket] for i in numbers) for bucket in range(size)]
        most = max((longest[i] for i in numbers), default=0) / 1e3
        bound = percentile_us(waits, _P99)
        if not bound:
            return "none yet"
        return f"99 % within {time_text(min(bound, most or bound))}, longest {time_text(most)}"

    return f"game {of(_GAMES)}; others {of(_OTHERS)}"


def _frames(frames: FrameFacts) -> str:
    gpu = frames.get("gpu")  # a supervisor of an earlier version tells of none
    return _frame_times(frames) + (f"; GPU {gpu_text(gpu['busy'])}" if gpu and gpu["jobs"] else "")


def _frame_times(frames: FrameFacts) -> str:
    if not frames["source"]:
        whys = list(frames["why"].values())
        return f"not known: {whys[-1] if whys else 'a source is looked for'}"
    if not frames["count"]:
        return f"none yet (by {frames['source']})"
    return (
        f"{frames['recent_fps']:.0f} a second; 1 % low {frames['low1_fps']:.0f},"
        f" 99 % within {frames['p99_ms']:.1f} ms (by {frames['source']})"
    )


def _input(now: SnapshotBody) -> str:
    facts = now.get("input")
    if not facts or facts["path"] == "none":
        return f"none: {facts['why'] if facts else 'starting'}"
    opened = sum(sum(lane.get("opened", [0])) for lane in (now.get("windows") or {}).values())
    where = "in the kernel" if facts["path"] == "kernel" else "by evdev"
    return f"{facts['devices']} devices, read {where}; {opened} boost windows opened"


def _held_back(now: SnapshotBody) -> str:
    live, network = now.get("scheduler"), now.get("network")
    tasks = live["tasks"].get("background", 0) if live else 0
    limits = len(network["limits"]) if network else 0
    if not tasks and not limits:
        return "nothing"
    return f"{tasks} background tasks, {limits} programs' traffic"


def _wrong(now: SnapshotBody) -> Iterator[str]:
    state = now.get("state", "")
    if state in _TO_DO:
        yield f"{state}: {_TO_DO[state]}"
    if (retry := now.get("retry_in_s")) is not None:
        last = now.get("last_exit")
        reason = f" ({last['reason'] or last['name']})" if last else ""
        yield f"the scheduler ended with an error{reason}; it is tried again in {retry:.0f} s"
    live = now.get("scheduler")
    if live and not live["effects"]:
        yield "boosts are off, because the supervisor's heartbeat is stale"
    missing = [name for name, why in (now.get("hooks") or {}).items() if why != "ok"]
    if missing:
        yield f"BPF programs could not be loaded: {', '.join(missing)}; `scx-gamer doctor` says why"
    if profile := now.get("profile"):
        if errors := profile["errors"]:
            more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
            yield f"profile: {errors[0]}{more}"
        for name, why in profile["disabled"].items():
            yield f"profile {name} is disabled: {why}; `scx-gamer profiles set {name}` tries it again"
    if now.get("state_write_errors"):
        yield "state.json could not be written; is the disk full?"
    if (sessions := now.get("sessions")) and sessions["error"]:
        yield f"sessions are not recorded: {sessions['error']}"
    detection = now.get("detection")
    if detection and detection["data_error"]:
        yield f"detection: {detection['data_error']}"

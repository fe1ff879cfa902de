# SPDX-License-Identifier: GPL-2.0-or-later
"""A record in the words of a player. Pure: a record as readers get it, in; text, out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scx_gamer.control.gpu import gpu_text
from scx_gamer.sessions.record import CUT, FAVOURED, MAX_NAMES, RUNNING, merged, percentiles
from scx_gamer.system.text import ago, printable, time_text

Record = Mapping[str, Any]
_NAMED = 3  # programs of a sentence
_LISTED = 5  # of a row
_TOLD_S = 1.0  # of a session's time: less was taken by nobody in particular
_WORD = 40  # characters of a name in a sentence
_MOSTLY = 0.5  # of a session's time


def title(record: Record) -> str:
    """Return the game's name."""
    return printable(str(record["game"]), _WORD) or "a game"


def others(record: Record) -> list[str]:
    """Return the classes that waited and are not the game's."""
    return [name for name in record["waits"] or {} if name not in FAVOURED]


def game_waits(record: Record) -> dict[str, Any] | None:
    """Return the waits of the game and of what it waits for as one."""
    return merged(record["waits"], FAVOURED)


def on_time(record: Record) -> float | None:
    """Return the percentage of frames that were on time; None without frames."""
    frames = record["frames"]
    if not frames or not frames["count"]:
        return None
    return float(100 * (1 - min(1.0, frames["missed"] / frames["count"])))


def watts(record: Record) -> float | None:
    """Return the mean power of the machine; None where nothing measures it."""
    power = record["power"]
    return float(power["joules"] / power["seconds"]) if power and power["seconds"] else None


def gpu_share(record: Record) -> float | None:
    """Return the share of the time in which the GPU had work of the game; None where nothing told."""
    work = record.get("gpu")
    return min(1.0, work["busy_s"] / work["seconds"]) if work and work["seconds"] else None


def was_on(record: Record) -> bool:
    """Return True if the scheduler was attached for most of the session."""
    return bool(record["attached_s"] > _MOSTLY * record["duration_s"])


def sentence(record: Record) -> str:
    """Return the session in one line: how long, how the frames were, the waits, what was held back."""
    said = []
    if (share := on_time(record)) is not None:
        said.append(f"{share:.1f} % of frames on time")
    if not was_on(record):
        said.append("scx-gamer was off most of the time")
    elif waits := game_waits(record):
        said.append(f"99 % of waits for a CPU at most {time_text(waits['p99_us'])}")
        said.append(f"the longest {time_text(waits['longest_us'])}")
    tail = f"; held back: {held}" if (held := held_back(record, _NAMED)) else ""
    lost = record.get("taken")
    if lost and lost["programs"] and (most := lost["programs"][0])["s"] >= _TOLD_S:
        tail += f"; {_program(most)} had its CPU for {time_text(most['s'] * 1e6)} while it waited"
    return f"{title(record)}, {ago(record['duration_s'])}: {', '.join(said) or 'nothing measured'}{tail}"


def held_back(record: Record, count: int) -> str:
    """Return the programs that were held back, with the share of the time that they waited; empty without any."""
    waited = {printable(one["program"], _WORD): one for one in record.get("held") or ()}
    names = [printable(str(name), _WORD) for name in record["held_back"]]
    names = [*(name for name in waited if name in names), *(n for n in names if n not in waited)]
    told = [f"{name} ({_share(waited[name])})" if name in waited else name for name in names]
    more = f" and {len(told) - count} more" if len(told) > count else ""
    return ", ".join(told[:count]) + more


def _share(one: Mapping[str, Any]) -> str:
    ready_s = one["waited_s"] + one["ran_s"]
    return f"it waited for {100 * one['waited_s'] / ready_s if ready_s else 0:.0f} % of its time"


def _program(one: Mapping[str, Any]) -> str:
    return printable(one["program"], _WORD) or "other programs"


def rows(record: Record) -> Iterator[tuple[str, str]]:
    """Return the figures of a record as (name, text). A figure that was not measured is left out."""
    yield "game", title(record) + (f" (AppID {record['app_id']})" if record["app_id"] else "")
    end = {RUNNING: ", and runs", CUT: ", then the supervisor was killed"}
    yield "lasted", ago(record["duration_s"]) + end.get(record["state"], "")
    yield "profile", record["profile"] or "none"
    yield "scheduler", _scheduler(record)
    if frames := record["frames"]:
        yield "frames", f"{frames['count']}, as {frames['source']} tells"
        yield "frame rate", f"{frames['mean_fps']:.1f} fps"
        yield "1 % low", f"{frames['low_1_fps']:.1f} fps"
        yield "0.1 % low", f"{frames['low_01_fps']:.1f} fps"
        yield "longest frame", time_text(frames["longest_ms"] * 1e3)
    if (share := on_time(record)) is not None:
        target = record["frames"]["target_ms"]
        yield "on time", f"{share:.2f} % of frames, of {target:.2f} ms each"
    for name, waits in (
        ("game", game_waits(record)),
        ("others", merged(record["waits"], others(record))),
    ):
        if waits:
            yield f"waits, {name}", _times(waits) + f", longest {time_text(waits['longest_us'])}"
    if (share := gpu_share(record)) is not None:
        yield "GPU", gpu_text(share)
    if found := record["input"]:
        yield "input to run", _times(percentiles(found))
    yield "boosts", f"{record['boosts']} input windows opened"
    if record["cpu_s"]:
        yield "CPU time", ", ".join(f"{name} {ago(s)}" for name, s in record["cpu_s"].items())
    if record["preemptions"]:
        asked = sum(record["preemptions"].get(name, 0) for name in FAVOURED)
        yield "preemptions", f"{asked:.0f} times another task made way for the game"
    if (lost := record.get("taken")) is not None:
        yield "taken", _taken(lost)
    yield "held back", held_back(record, MAX_NAMES) or "nothing"
    if (mean_w := watts(record)) is not None:
        yield "power", f"{mean_w:.1f} W, as {record['power']['source']} tells"


def _scheduler(record: Record) -> str:
    share = 100 * min(1.0, record["attached_s"] / max(record["duration_s"], 0.1))
    ends = ", ".join(f"{count} {kind}" for kind, count in record["exits"].items())
    text = f"on for {share:.0f} % of the time"
    if record["attaches"]:
        text += f", attached {record['attaches']} times more"
    return text + (f", ended: {ends}" if ends else "")


def _taken(lost: Mapping[str, Any]) -> str:
    """Say who had the CPU while the game waited for it."""
    most = [
        f"{_program(one)} {time_text(one['s'] * 1e6)} (at once at most {time_text(one['longest_ms'] * 1e3)})"
        for one in lost["programs"][:_LISTED]
    ]
    by = f": {', '.join(most)}" if most else ""
    return (
        f"{time_text(lost['others_s'] * 1e6)} of CPU time while the game waited{by};"
        f" {time_text(lost['game_s'] * 1e6)} by its own threads"
    )


def _times(one: Mapping[str, Any]) -> str:
    ends = {"50": "p50_us", "99": "p99_us", "99.9": "p999_us"}
    return ", ".join(f"{share} % at most {time_text(one[key])}" for share, key in ends.items())

# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of `status` for people, made of snapshots of every state."""

from __future__ import annotations

from typing import Any

import pytest

from scx_gamer.cli import summary
from tests.unit.cli.test_top import snapshot

GAME = {
    "pid": 4242,
    "comm": "eldenring.exe",
    "name": "ELDEN RING",
    "reason": "pid 4200 is Steam's reaper",
    "processes": 31,
    "since_s": 8000,
    "active": True,
}
PROFILE: dict[str, Any] = {
    "active": "fast",
    "why": "set by the user",
    "settings": {"tunables.slice_us": 3000},
    "errors": [],
    "disabled": {},
}


def told(now: Any, width: int = 80) -> dict[str, str]:
    """Text by label, as it was before it was wrapped."""
    found: dict[str, str] = {}
    label = ""
    for line in summary.lines(now, width):
        assert len(line) <= width
        label = line[:10].strip() or label
        found[label] = f"{found.get(label, '')} {line[10:]}".strip()
    return found


def attached(**more: Any) -> Any:
    return snapshot(100.0, games=[GAME], profile=PROFILE, hooks={"on_exec": "ok"}, **more)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_game_that_runs_is_told_in_few_lines_with_its_waits(width: int) -> None:
    text = told(attached(), width)
    assert list(text) == [
        "state",
        "game",
        "waits",
        "frames",
        "placed",
        "input",
        "held back",
        "wrong",
    ]
    assert text["state"].startswith("attached for 2 min: a game runs")
    assert text["game"] == (
        "ELDEN RING for 2 h 13 min, 31 processes: pid 4200 is Steam's reaper;"
        " profile fast (set by the user)"
    )
    # one in fifty of the game's waits is in the bucket below 2.05 ms, all of background's in the one below 65.5 ms
    assert text["waits"] == (
        "game 99 % within 2 ms, longest 2 ms; others 99 % within 60 ms, longest 60 ms"
    )
    assert text["placed"] == "98.0% of 250.0 s on CPUs 0-7 (the die with 96 MB of cache)"
    assert text["held back"].startswith("40 background tasks")
    assert text["wrong"] == "nothing"


COMPARED: dict[str, Any] = {"pid": 1, "side": "without", "pair": 3, "since_s": 400}
POWER = {"wanted": "performance", "held": "performance", "why": ""}


def test_no_status_has_more_than_eight_lines() -> None:
    everything = attached(frames=FRAMES | GPU, comparison=COMPARED, power=POWER)
    assert len(told(everything)) == 8
    assert len(summary.lines(attached(frames=FRAMES), 120)) == 8


FRAMES: dict[str, Any] = {
    "source": "mangohud",
    "why": {},
    "count": 5000,
    "recent_fps": 59.9,
    "low1_fps": 48.2,
    "p99_ms": 20.13,
}
GPU = {"gpu": {"why": "", "busy": 0.4, "jobs": 1234}}


def test_frames_are_told_with_their_source_or_why_not() -> None:
    one = attached(frames=FRAMES)
    assert told(one)["frames"] == "60 a second; 1 % low 48, 99 % within 20.1 ms (by mangohud)"
    assert told(attached(frames=FRAMES | GPU))["frames"].endswith(
        "(by mangohud); GPU 40 % busy, and waits for the game"
    )
    idle = {"gpu": {"why": "", "busy": 0.0, "jobs": 0}}
    assert "GPU" not in told(attached(frames=FRAMES | idle))["frames"]
    why = {"mangohud": "no log", "scheduler": "no thread wakes in step"}
    none = FRAMES | {"source": "", "why": why}
    assert told(attached(frames=none))["frames"] == "not known: no thread wakes in step"
    assert told(attached(frames=none | GPU))["frames"].endswith(
        "in step; GPU 40 % busy, and waits for the game"
    )
    assert told(attached(frames=FRAMES | {"count": 0}))["frames"] == "none yet (by mangohud)"


@pytest.mark.parametrize(
    "change",
    [{"home_s": 0.0}, {"home": "", "shield_s": 0.0}],
    ids=["no game ran", "CPUs are alike and have no siblings"],
)
def test_placement_is_told_where_there_is_something_to_tell(change: dict[str, Any]) -> None:
    one = attached()
    assert "placed" in told(one)
    one["placement"] |= change
    assert "placed" not in told(one)


def test_a_percentile_is_never_above_the_longest_wait() -> None:
    one = attached()
    one["cpu_stats"]["wait_max_ns"] = [5_000] * 5
    assert "99 % within 5 us, longest 5 us; others" in told(one)["waits"]


@pytest.mark.parametrize(
    ("power", "end"),
    [
        (POWER | {"wanted": "", "held": ""}, "(set by the user)"),
        (POWER, "; power profile performance held"),
        (POWER | {"held": "", "why": "not held: no daemon"}, "; power profile not held: no daemon"),
    ],
)
def test_the_power_profile_is_told_where_one_is_wanted(power: Any, end: str) -> None:
    assert told(attached(power=power))["game"].endswith(end)


def test_a_profile_without_settings_is_not_told() -> None:
    one = attached()
    one["profile"] = PROFILE | {"active": "auto", "settings": {}}
    assert told(one)["game"].endswith("reaper")


@pytest.mark.parametrize(
    ("resources", "end"),
    [
        ({"held": [], "why": ""}, "(set by the user)"),
        ({"held": [], "why": "x.slice is not held: no"}, "; x.slice is not held: no"),
        (
            {
                "held": [
                    {"property": "MemoryLow"},
                    {"property": "MemoryLow"},
                    {"property": "IOWeight"},
                ]
            },
            "; MemoryLow and IOWeight held",
        ),
    ],
)
def test_held_properties_are_told(resources: Any, end: str) -> None:
    assert told(attached(resources=resources))["game"].endswith(end)


def test_without_a_game_it_says_where_to_look() -> None:
    idle = {"state": "idle", "cause": "no game runs", "since_s": 5, "games": []}
    text = told(idle)
    assert text["state"] == "idle for 5 s: no game runs"
    assert "scx-gamer games why" in text["game"] and "waits" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "off"}, "`scx-gamer start`"),
        ({"state": "conflict"}, "stop the other scheduler"),
        ({"state": "fallback"}, "`scx-gamer report`"),
        ({"state": "unsupported"}, "`scx-gamer doctor`"),
        ({"retry_in_s": 4.2, "last_exit": {"reason": "stall", "name": ""}}, "(stall); it is tried again in 4 s"),
        ({"hooks": {"on_input": "refused", "drain": "ok"}}, "not be loaded: on_input;"),
        ({"profile": PROFILE | {"errors": ["a.toml: no", "b"]}}, "a.toml: no, and 1 more"),
        ({"profile": PROFILE | {"disabled": {"hot": "3 errors"}}}, "profile hot is disabled: 3 errors"),
        ({"state_write_errors": 1}, "disk full"),
        ({"detection": {"data_error": "no list"}}, "no list"),
    ],
)  # fmt: skip
def test_everything_that_is_wrong_is_told_with_what_to_do(
    change: dict[str, Any], words: str
) -> None:
    text = told(attached() | change, 200)
    assert words in text["wrong"]


def test_a_comparison_that_runs_is_told() -> None:
    text = told(attached(comparison=COMPARED))["state"]
    assert text.endswith("; compared for 6 min, pair 3 of blocks, now without the scheduler")
    assert "compared" not in told(attached(comparison=None))["state"]


def test_boosts_that_are_off_are_wrong() -> None:
    one = attached()
    one["scheduler"]["effects"] = 0
    assert "heartbeat is stale" in told(one)["wrong"]


def test_an_empty_answer_is_no_error() -> None:
    assert told({})["state"] == "starting for 0 s"

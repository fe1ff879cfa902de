# SPDX-License-Identifier: GPL-2.0-or-later
"""Every metric moves with its source, is documented, and nothing is exported that is not."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import metrics
from scx_gamer.metrics import PREFIX, SPECS, STANDARD, Names, text_of, wait_buckets

TOP = Path(__file__).resolve().parents[3]
NAMES = Names(
    classes={0: "normal", 1: "game", 2: "critical", 3: "background", 4: "kthread"},
    messages={0: "none", 1: "heartbeat", 2: "input"},
    paths={0: "kernel", 1: "evdev"},
)
BUCKETS = 32


def snapshot() -> Any:
    """The shape of Supervisor.snapshot(), attached, with numbers that differ from each other."""
    by_class = {name: [n * 10 + c for c in range(5)] for n, name in enumerate(_CLASS_FIELDS, 1)}
    plain = {name: [n] for n, name in enumerate((*_PLAIN_FIELDS, *_PLACED_FIELDS), 100)}
    return {
        "version": "9.9",
        "mode": "auto",
        "state": "attached",
        "uptime_s": 12.5,
        "unclean_ends": 1,
        "sleeps": 45,
        "generation": 7,
        "retry_in_s": 5.0,
        "games": [{"pid": 1}],
        "kernel": {"release": "7.2.0", "sched_ext": "enabled", "loaded": "scx_gamer"},
        "enable_seq": 3,
        "nr_rejected": 4,
        "profile": {
            "active": "server",
            "changes": 43,
            "errors": [],
            "reloads": {"ok": 44, "failed": 45},
            "disabled": {},
            "tunables": {"slice_us": 46},
        },
        "session_hints": {"used": 47},
        "kernel_events": {"SCX_EV_REFILL_SLICE_DFL": 5},
        "counters": {"attaches": {"ok": 2}, "exits": {"stall": 1}, "restarts": 6},
        "detection": {
            "source": "bpf",
            "by_rule": {"steam": 46},
            "classes": {"game": 47},
            "reconciles": 48,
            "losses": 49,
            "hints": {"focus": 50},
            "thread_roles": {"input": 54},
        },
        "hooks": {"on_input": "ok", "on_exec": "refused"},
        "frames": {
            "source": "mangohud",
            "recent_fps": 59.5,
            "gpu": {"why": "", "busy": 0.25, "jobs": 600},
        },
        "frame_buckets": {
            "source": "mangohud",
            "at_most": {"0.01": 3, "0.02": 8},
            "count": 9,
            "sum_ns": 160_000_000,
        },
        "sessions": {"recorded": 56, "write_errors": 57},
        "loop": {"passes": 8, "lag_last_ms": 1.0},
        "control": {
            "msgs": [0, 11, 12],
            "msgs_stale": [13],
            "msgs_unknown": [14],
            "msgs_invalid": [15],
            "events_lost": [16],
            "execs": [17],
            "exits": [18],
            "forks": [19],
            "execs_told": [51],
            "class_delay_hist": list(range(BUCKETS)),
            "class_delay_sum_ns": [52],
            "input_delay_ns": [56],
        },
        "feed": {"sent": {}, "dropped": {"INPUT": 20}, "ring_full": 21, "waiting": 22, "drains": 1},
        "events": {"by_type": {"EXEC": 23}, "stale": 24, "unknown": 25, "handler_failures": 26},
        "input": {"path": "kernel", "devices": 0, "lanes": {"mouse": 2}, "held": 43, "why": ""},
        "input_counters": {"resyncs": 44},
        "network_counters": {
            "limits": 901,
            "refusals": 902,
            "orphans": 903,
            "orphaned": 904,
            "leftovers": 905,
            "traffic": {
                "up.bytes": 911,
                "up.packets": 912,
                "up.dropped_bytes": 913,
                "up.dropped_packets": 914,
                "down.exempt_bytes": 915,
            },
        },
        "windows": {"mouse": {"until_ns": [1], "opened": [27], "events": [28, 29]}},
        "cpu_stats": {
            **by_class,
            **plain,
            "wait_hist": list(range(5 * BUCKETS)),
            "input_hist": list(range(BUCKETS)),
            "input_sum_ns": [58],
        },
        "recent_maxima": {
            "wait": [61, 62, 63, 64, 65],
            "oldest_wait": [66],
            "exec_to_class": [67],
            "input_delay": [68],
            "loop_lag": [69],
            "loop_pass": [70],
        },
        "scheduler": {
            "generation": 7,
            "ticks": 30,
            "timer_failed": 31,
            "effects": 1,
            "effects_off": 32,
            "nr_queued": 33,
            "oldest_wait_ns": 34,
            "tasks": {"game": 36},
        },
        "programs": {"scxg_enqueue": (37, 38)},
        "bus": {"connected": True, "calls": {"answered": 54}, "over_budget": 55, "holds": [{}]},
        "process": {
            "cpu_ns": 39,
            "resident_bytes": 40,
            "open_fds": 41,
            "threads": 42,
            "start_time_s": 43,
        },
    }


_CLASS_FIELDS = (
    *("enqueues", "runs", "run_ns", "idle_inserts", "migrations", "preempt_kicks"),
    "wait_sum_ns",
)
_PLACED_FIELDS = ("game_home_ns", "game_away_ns")  # sums of run_ns over some CPUs, not of the ABI
_PLAIN_FIELDS = (
    *("slice_cuts", "keep_running", "steals", "boosted", "shield_kicks", "shield_ns", "home_moves"),
    *("ctx_missing", "ctx_reset", "urgent", "urgent_refused", "quota_holds", "quota_held_ns"),
    *("lock_lends", "events_lost"),
)


def values(body: Any) -> dict[str, float]:
    """Sample line -> value, as a scraper sees them."""
    text = text_of(body, NAMES)
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all numbers of a nested structure."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found: list[tuple[Any, ...]] = []
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            found += leaves(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((*path, key))
    return found


# Numbers that say something to others, not to a scraper.
_SILENT = {
    ("feed", "drains"),
    ("input", "devices"),
    ("scheduler", "generation"),
    ("control", "msgs", 0),
}


@pytest.mark.parametrize("path", leaves(snapshot()), ids=lambda path: ".".join(map(str, path)))
def test_each_number_of_the_snapshot_moves_a_metric(path: tuple[Any, ...]) -> None:
    if path in _SILENT or path[-2:] == ("until_ns", 0) or path[-1] == "pid":
        return
    body = copy.deepcopy(snapshot())
    node = body
    for key in path[:-1]:
        if isinstance(node[key], tuple):
            node[key] = list(node[key])
        node = node[key]
    node[path[-1]] += 1000
    before, after = values(snapshot()), values(body)
    moved = {name for name in after if after[name] != before.get(name)} - {
        PREFIX + "scrape_seconds"
    }
    assert moved
    assert before.keys() == after.keys()


def test_states_and_kernel_truth_move() -> None:
    body = snapshot()
    body.update(state="conflict", games=[], mode="always")
    body["kernel"].update(sched_ext="disabled", loaded="scx_other", release="8.0")
    body["hooks"]["on_input"] = "refused"
    body["input"]["path"] = "evdev"
    got = values(body)
    assert got['scx_gamer_state{state="conflict"}'] == 1
    assert sum(v for k, v in got.items() if k.startswith("scx_gamer_state{")) == 1
    assert got['scx_gamer_hook_loaded{hook="on_input"}'] == 0
    assert got['scx_gamer_input_path{path="evdev"}'] == 1
    assert got['scx_gamer_mode{mode="always"}'] == 1
    for name, value in {"enabled": 0, "foreign_scheduler": 1, "game_active": 0, "games": 0}.items():
        assert got[PREFIX + name] == value


def test_all_specs_are_exported_and_nothing_else() -> None:
    text = text_of(snapshot(), NAMES)
    typed = {
        (match[1].removesuffix("_total") if match[2] == "counter" else match[1], match[2])
        for match in re.finditer(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    }
    ours = {(PREFIX + name, spec.kind) for name, spec in SPECS.items()}
    assert typed == ours | {(name, spec.kind) for name, spec in STANDARD.items()}


def test_frames_are_a_histogram_of_their_source() -> None:
    body = snapshot()
    got = values(body)
    name = f"{PREFIX}game_frame_seconds"
    assert got[f'{PREFIX}game_fps{{source="mangohud"}}'] == 59.5
    assert [
        got[f'{name}_bucket{{le="{le}",source="mangohud"}}'] for le in ("0.01", "0.02", "+Inf")
    ] == [3, 8, 9]
    assert got[f'{name}_sum{{source="mangohud"}}'] == 0.16
    body["frames"]["source"] = ""
    del body["frame_buckets"]
    assert not [key for key in values(body) if "game_f" in key]


def test_the_gpu_is_told_without_frames_too_and_not_where_it_is_unknown() -> None:
    body = snapshot()
    body["frames"]["source"] = ""
    name = f"{PREFIX}game_gpu"
    assert (values(body)[f"{name}_busy_ratio"], values(body)[f"{name}_jobs"]) == (0.25, 600)
    body["frames"]["gpu"] = {"why": "no driver", "busy": 0.0, "jobs": 0}
    assert not [key for key in values(body) if key.startswith(name)]


def test_a_supervisor_that_never_attached_can_be_scraped() -> None:
    body = snapshot()
    body["scheduler"] = None
    for key in (
        "cpu_stats",
        "recent_maxima",
        "programs",
        "control",
        "windows",
        "events",
        "process",
    ):
        del body[key]
    body["enable_seq"] = body["nr_rejected"] = None
    assert values(body)[PREFIX + "generation"] == 7


def test_hostile_labels_are_made_safe() -> None:
    body = snapshot()
    body["hooks"] = {'a"\n\x1b[2J': "ok"}
    assert "\x1b" not in text_of(body, NAMES)


def test_histogram_is_cumulative_and_in_seconds() -> None:
    assert wait_buckets([1, 2, 0, 4]) == [("1e-06", 1), ("2e-06", 3), ("4e-06", 3), ("+Inf", 7)]
    got = values(snapshot())
    assert got['scx_gamer_wait_seconds_count{class="game"}'] == sum(range(BUCKETS, 2 * BUCKETS))
    assert got['scx_gamer_wait_seconds_sum{class="game"}'] == pytest.approx(71e-9)
    assert got['scx_gamer_wait_seconds_bucket{class="normal",le="2e-06"}'] == 1


def test_every_metric_is_documented_and_only_those() -> None:
    text = (TOP / "docs/metrics.md").read_text()
    rows = {
        name: (kind, labels)
        for name, kind, labels in re.findall(
            r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", text, re.MULTILINE
        )
    }
    wanted = {
        prefix + name + ("_total" if spec.kind == "counter" else ""): (
            spec.kind,
            ", ".join(spec.labels) or "-",
        )
        for prefix, specs in ((PREFIX, SPECS), ("", STANDARD))
        for name, spec in specs.items()
    }
    assert rows == wanted
    for spec in (*SPECS.values(), *STANDARD.values()):
        assert spec.help in text


def test_fields_are_those_of_the_abi() -> None:
    abi = (TOP / "bpf/include/abi.h").read_text()
    body = abi.split("struct scxg_cpu_stats {")[1].split("\n};")[0]
    fields = set(re.findall(r"^\tu64 (\w+)", body, re.MULTILINE)) - {"pad"}
    assert fields - {"wait_max_ns"} == {
        *_CLASS_FIELDS,
        *_PLAIN_FIELDS,
        "wait_hist",
        "input_hist",
        "input_sum_ns",
    }


def test_own_process() -> None:
    first = metrics.process()
    blob = bytearray(64 << 20)
    blob[::4096] = b"x" * len(blob[::4096])
    second = metrics.process()
    assert second["resident_bytes"] > first["resident_bytes"] + (48 << 20)
    assert second["cpu_ns"] > first["cpu_ns"]
    began = Path("/proc/self").stat().st_ctime
    assert abs(first["start_time_s"] - began) < 5
    with open("/dev/null", "rb"):
        assert metrics.process()["open_fds"] == first["open_fds"] + 1

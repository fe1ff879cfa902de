# SPDX-License-Identifier: GPL-2.0-or-later
"""The schema of `status --json` and of the snapshot: keys that readers know stay, whatever type holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scx_gamer.control.snapshot import SnapshotBody, StatusBody
from scx_gamer.service.status import unsupported
from tests.typed import key_paths, mismatches

# As they were before the status had a type. One may be added here, none may go.
STATUS = """
schema version pid uptime_s mode generation
kernel kernel.release kernel.sched_ext kernel.loaded unclean_ends state_write_errors sleeps
games games.pid games.comm games.reason games.processes games.rule games.name games.app_id games.main_pid
games.since_s games.active
state cause since_s retry_in_s failures
last_exit last_exit.kind last_exit.name last_exit.code last_exit.generation last_exit.reason last_exit.message
scheduler scheduler.generation scheduler.ticks scheduler.timer_failed scheduler.effects scheduler.effects_off
scheduler.nr_queued scheduler.oldest_wait_ns scheduler.oldest_wait_max_ns scheduler.tasks
hooks feed feed.sent feed.dropped feed.ring_full feed.waiting feed.drains
profile profile.active profile.chosen profile.why profile.settings profile.errors profile.disabled profile.changes
profile.reloads profile.tunables profile.watch
input input.path input.devices input.lanes input.held input.why
power power.wanted power.held power.why power.on_battery power.source_why
resources resources.memory_low_mb resources.held resources.why
bus bus.connected bus.calls bus.holds bus.over_budget session_hints
detection detection.source detection.why detection.filter detection.filter_why detection.names
detection.desktop_games detection.processes_known detection.classes detection.by_rule detection.hints
detection.focus_pid detection.focus_why detection.reconciles detection.losses detection.data_error detection.threads
detection.entries_refused detection.games_refused
detection.threads_why detection.threads_resting detection.thread_roles
sessions sessions.keep sessions.running sessions.recorded sessions.refused sessions.write_errors
sessions.write_max_ms sessions.error
network network.available network.why network.wishes network.limits network.orphans
frames frames.source frames.tells frames.cannot_tell frames.why frames.count frames.missed frames.target_ms
frames.fps frames.low1_fps frames.low01_fps frames.p99_ms frames.longest_ms frames.recent_fps frames.recent_p99_ms
frames.gpu frames.gpu.why frames.gpu.busy frames.gpu.jobs
placement placement.home placement.why placement.home_s placement.away_s placement.moves
placement.shield_s placement.shield_kicks
comparison comparison.pid comparison.side comparison.trial comparison.pair comparison.since_s
loop loop.passes loop.lag_last_ms loop.lag_max_ms loop.pass_max_ms
"""
SNAPSHOT = """
counters counters.attaches counters.exits counters.restarts cpu_stats recent_maxima programs control windows
frame_buckets frame_buckets.source frame_buckets.at_most frame_buckets.count
frame_buckets.sum_ns events events.by_type events.stale events.unknown events.handler_failures input_counters
network_counters network_counters.limits network_counters.orphans network_counters.orphaned
network_counters.refusals network_counters.leftovers network_counters.traffic
process kernel_events enable_seq nr_rejected
"""


@pytest.mark.parametrize(
    ("kind", "keys"), [(StatusBody, STATUS), (SnapshotBody, STATUS + SNAPSHOT)]
)
def test_keys(kind: Any, keys: str) -> None:
    assert set(keys.split()) == set(key_paths(kind))


def test_the_status_of_a_kernel_that_cannot() -> None:
    assert not list(mismatches(unsupported("no sched_ext"), StatusBody))


def test_a_mismatch_is_found() -> None:
    body: Any = {"schema": "1", "games": [{"pid": 1}], "new": 1, "retry_in_s": "x", "sleeps": True}
    found = sorted(mismatches(body, StatusBody))
    assert (
        len(found) == 4 + 9 and ".games.0.comm is missing" in found and ".new has no type" in found
    )


def test_the_daemon_does_not_load_the_types() -> None:
    """They are for mypy and the tests: at run time they would cost the start and nothing else."""
    package = Path(__file__).parents[3] / "scx_gamer"
    for path in package.rglob("*.py"):
        text = path.read_text()
        for at in (i for i in range(len(text)) if text.startswith("control.snapshot", i)):
            line = text.rfind("\n", 0, at) + 1
            assert text[line:].startswith("    from"), path
            assert "if TYPE_CHECKING:" in text[:line], path

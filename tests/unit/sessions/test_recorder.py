# SPDX-License-Identifier: GPL-2.0-or-later
"""Games become records: begun, written while they run, ended; and an error of the disk ends nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.control import ControlError
from scx_gamer.frames.model import Frame
from scx_gamer.service.sessions import SessionFrames, Sessions
from scx_gamer.sessions.database import MAX_ROWS, Database
from scx_gamer.sessions.record import ProgramTimes, parse
from scx_gamer.sessions.recorder import MAX_RUNNING, Limits, Recorder
from scx_gamer.system.exit_codes import USAGE
from tests.unit.sessions.support import FRAMES, Source, made, playing, record

LIMITS = Limits(days=365, size=1 << 26, every_s=10.0)
TREE = Path(__file__).resolve().parents[3]


class Timer:
    pending = True

    def cancel(self) -> None:
        self.pending = False


class Loop:
    """A loop whose timers a test lets run."""

    def __init__(self) -> None:
        self.due: list[tuple[Timer, Callable[[], None]]] = []

    def call_later(self, _delay_s: float, call: Callable[[], None], *, name: str) -> Timer:
        self.due.append((Timer(), call))
        return self.due[-1][0]

    def run_interruptible(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    def turn(self) -> None:
        due, self.due = self.due, []
        for timer, call in due:
            if timer.pending:
                timer.cancel()
                call()


class World:
    def __init__(self, path: Path) -> None:
        self.path, self.loop, self.source = path, Loop(), Source()
        self.recorder = Recorder(self.loop, path, LIMITS, self.source.read, self.source)  # type: ignore[arg-type]

    def tick(self, seconds: float = 10.0) -> None:
        self.source.time_s += seconds
        self.loop.turn()

    def rows(self) -> list[dict[str, Any]]:
        with Database(self.path) as db:
            return db.listing(0, self.recorder.ids, count=MAX_ROWS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "sessions.db")


def test_a_session_from_its_beginning_to_its_end(world: World) -> None:
    world.recorder.update([playing()])
    assert not world.path.exists()  # a launcher that ends at once leaves nothing
    world.source.wait("game", 40, 5)
    world.source.profile = "fast"
    world.tick()
    [row] = world.rows()
    assert (row["state"], row["duration_s"], row["profile"]) == ("running", 10.0, "fast")
    assert row["waits"]["game"]["count"] == 5
    world.source.wait("game", 40, 5)
    world.source.profile = "auto"
    world.source.time_s += 7
    world.recorder.update([replace(playing(), ended_s=lambda: 114.0)])
    world.recorder.update([])
    [row] = world.rows()
    assert (row["state"], row["duration_s"], row["profile"]) == ("ended", 17.0, "fast")
    assert row["waits"]["game"]["count"] == 10 and abs(row["began"] - time.time()) < 5
    assert world.recorder.recorded == 1 and world.recorder.last_ended == row["id"]
    world.tick()
    assert not world.loop.due and world.recorder._db is None  # at rest


def test_the_grace_of_a_game_is_not_played(world: World) -> None:
    ended: list[float] = []
    game = replace(playing(), ended_s=lambda: ended[0] if ended else None)
    world.recorder.update([game])
    world.tick()
    ended.append(112.0)
    world.source.time_s = 115.0
    world.recorder.update([])
    assert world.rows()[0]["duration_s"] == 12.0


def test_a_game_that_ends_before_the_first_write_is_no_session(world: World) -> None:
    world.recorder.update([playing()])
    world.source.time_s += 9
    world.recorder.update([])
    assert world.recorder.recorded == 0 and not world.path.exists()


def test_the_timeline_has_the_figures_of_each_interval(world: World) -> None:
    world.recorder.update([playing()])
    for us in (40, 5000, 100):
        world.source.wait("game", us, 10)
        world.source.wait("normal", 9000, 10)
        world.source.run_ns[1] += 15 * 10**9
        world.tick()
    with Database(world.path) as db:
        timeline = db.one(1, 0, (1,))["timeline"]
    assert [row["at_s"] for row in timeline] == [10, 20, 30]
    assert [row["wait_p99_us"] for row in timeline] == [64, 8192, 128]
    assert [row["others_p99_us"] for row in timeline] == [16384] * 3
    assert [row["game_cpu"] for row in timeline] == [1.5] * 3
    assert timeline[0]["frames"] is None and timeline[0]["taken_ms"] is None
    world.source.programs = {
        ("Doom", "game"): ProgramTimes(9_000_000, 1, 9_000_000),
        ("make", "normal"): ProgramTimes(1_000_000, 1, 1_000_000),
        ("cc1plus", "normal"): ProgramTimes(2_000_000, 2, 1_000_000),
    }
    world.source.frames = FRAMES
    world.tick()
    with Database(world.path) as db:
        row = db.one(1, 0, (1,))
    last = row["timeline"][3]
    assert (last["taken_ms"], last["taken_by"]) == (3, "cc1plus")
    assert row["frames"] == FRAMES and row["timeline"][3]["frames"] == 1180


def test_two_games_have_a_record_each(world: World) -> None:
    world.recorder.update([playing(7, "A", 1000), playing(8, "B", 1001)])
    world.tick()
    world.recorder.update([playing(8, "B", 1001)])
    world.tick()
    assert {(row["game"], row["uid"], row["state"], row["duration_s"]) for row in world.rows()} == {
        ("A", 1000, "ended", 10.0),
        ("B", 1001, "running", 20.0),
    }


def test_more_games_than_are_recorded_are_counted_once(world: World) -> None:
    games = [playing(pid) for pid in range(10, 10 + MAX_RUNNING + 3)]
    for _ in range(3):
        world.recorder.update(games)
        world.tick()
    assert world.recorder.refused == 3 and len(world.rows()) == MAX_RUNNING


def test_the_supervisor_s_end_ends_the_sessions(world: World) -> None:
    world.recorder.update([playing()])
    world.tick()
    world.source.time_s += 3
    world.recorder.close()
    assert [(row["state"], row["duration_s"]) for row in world.rows()] == [("stopped", 13.0)]


def test_a_killed_supervisor_s_session_is_cut_off(world: World) -> None:
    world.recorder.update([playing()])
    world.tick()
    other = World(world.path)  # as the next one finds it
    assert other.rows()[0]["state"] == "cut"
    other.recorder.update([playing(9)])
    other.tick()
    assert [row["state"] for row in other.rows()] == ["running", "cut"]


def test_a_full_disk_costs_writes_and_nothing_else(world: World, tmp_path: Path) -> None:
    world.path.mkdir()  # no file can be there
    world.recorder.update([playing()])
    world.tick()
    assert world.recorder.write_errors == 1 and "sessions.db" in world.recorder.error
    world.path.rmdir()
    world.source.wait("game", 40, 5)
    world.tick()
    assert world.recorder.error == "" and world.rows()[0]["duration_s"] == 20.0
    assert world.rows()[0]["waits"]["game"]["count"] == 5


def test_a_file_that_is_taken_away_is_begun_anew(world: World) -> None:
    world.recorder.update([playing()])
    world.tick()
    world.recorder._drop()
    world.path.unlink()
    world.tick()
    assert world.rows()[0]["duration_s"] == 20.0


def test_names_are_one_line(world: World) -> None:
    world.recorder.update([playing(name="a\n\x1b[2J" + "x" * 500)])
    world.tick()
    name = world.rows()[0]["game"]
    assert name.isprintable() and len(name) <= 128


# ---- frames --------------------------------------------------------------------------------------


def test_frames_belong_to_the_game_that_is_active() -> None:
    active: list[tuple[int, int] | None] = [(7, 1)]
    counts = SessionFrames(lambda: active[0])
    assert counts.figures((7, 1)) is None and counts.lately((7, 1)) == {}
    counts.add("scheduler", [Frame(n, 16_000_000) for n in range(10)])
    counts.add("mangohud", [Frame(n, 8_000_000) for n in range(97)] + [Frame(0, 30_000_000)] * 3)
    active[0] = (8, 1)
    counts.add("mangohud", [Frame(0, 4_000_000)])
    active[0] = None
    counts.add("mangohud", [Frame(0, 1_000_000)])
    found = counts.figures((7, 1))
    assert found is not None and parse(json.dumps(made(Source(frames=found)).figures()))
    assert (found["source"], found["count"], found["missed"]) == ("mangohud", 100, 3)
    assert found["mean_fps"] == pytest.approx(100 / (97 * 0.008 + 3 * 0.030), abs=0.01)
    assert found["low_1_fps"] == pytest.approx(1 / 0.030, abs=0.01)
    assert found["longest_ms"] == 30 and sum(n for _, n in found["histogram"]) == 100
    lately = counts.lately((7, 1))  # the source that was there first
    assert (lately["frames"], lately["frame_mean_ms"]) == (10, 16.0)
    assert counts.lately((7, 1)) == {}
    counts.keep({(8, 1)})
    assert counts.figures((7, 1)) is None
    other = counts.figures((8, 1))
    assert other is not None and other["count"] == 1


# ---- the handle of the supervisor ----------------------------------------------------------------


def handle(path: Path, **options: Any) -> Sessions:
    def none() -> Any:
        raise AssertionError("nothing runs")

    return Sessions(Loop(), path, SupervisorOptions(**options), none, none)  # type: ignore[arg-type]


def test_operations_answer_each_user_and_refuse_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    found = handle(path, sessions=False)
    assert found.records({}, 1000) == [] and found.delete({"all": True}, 1000) == {"deleted": 0}
    assert not path.exists()
    with pytest.raises(ControlError):
        found.record({"id": 1}, 1000)
    ids = record(path, 5, uid=1000)
    others = record(path, 5, uid=1001)
    assert [row["id"] for row in found.records({}, 1000)] == ids[::-1]
    assert [row["id"] for row in found.records({"count": 2, "before": ids[4]}, 1000)] == [4, 3]
    assert found.record({"id": ids[0]}, 1000)["timeline"] == []
    for uid, number in ((1000, others[0]), (1000, 10**18)):
        with pytest.raises(ControlError, match="no session"):
            found.record({"id": number}, uid)
        with pytest.raises(ControlError, match="no session"):
            found.delete({"id": number}, uid)
    wrong: tuple[Any, ...] = ("1", 1.5, True, -1, 1 << 63, [1], {})
    for bad in wrong:
        for call, name in ((found.record, "id"), (found.delete, "id"), (found.records, "before")):
            with pytest.raises(ControlError) as refused:
                call({name: bad}, 1000)
            assert refused.value.exit_code == USAGE
    assert found.delete({"id": ids[0]}, 1000) == {"deleted": 1}
    assert found.delete({"all": True}, 1000) == {"deleted": 4}
    assert len(found.records({}, 0)) == 5
    found.close()


def test_without_sqlite_games_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some distributions package it apart."""
    for name in ("sqlite3", "scx_gamer.sessions.database", "scx_gamer.sessions.recorder"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    found = handle(tmp_path / "sessions.db")
    for _ in range(2):
        found.update([cast("Any", object())])
        assert "sqlite3" in found.status()["error"]
    (tmp_path / "sessions.db").touch()
    for call in (found.records, found.record, found.delete):
        with pytest.raises(ControlError, match="unavailable"):
            call({"id": 1}, 0)
    found.close()


def test_sessions_are_not_imported_before_they_are_needed() -> None:
    program = (
        "import sys, scx_gamer.service.supervisor;"
        "print(*(n for n in sys.modules if n.startswith(('scx_gamer.sessions', 'sqlite3', '_sqlite3'))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TREE
    )
    assert ran.stdout == "\n"

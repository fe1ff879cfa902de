# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures are differences over the session, and what a database holds is looked at before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.frames.gpu import GpuWork
from scx_gamer.sessions import SessionError
from scx_gamer.sessions.power import PowerMeter
from scx_gamer.sessions.record import FAVOURED, Power, ProgramTimes, merged, parse
from tests.unit.sessions.support import FRAMES, Source, made


def test_the_figures_are_those_of_the_session_alone() -> None:
    source = Source(windows=5, exits={"error": 1})
    source.wait("game", 5000, 50)  # before the session
    session = made(source)
    source.wait("game", 40, 90)
    source.wait("game", 900, 10)
    source.run_ns[1], source.input_hist[6], source.input_sum_ns = 30 * 10**9, 4, 160_000
    source.time_s, source.windows, source.exits = 160.0, 12, {"error": 2, "stall": 1}
    source.held_back = frozenset({"fossilize_replay"})
    session.advance(source.read())
    found = session.figures()
    waits = found["waits"]["game"]
    assert (waits["count"], waits["mean_us"]) == (100, 126.0)
    # 5 ms was before the session: the end of the last bucket that was counted bounds the longest
    assert waits["longest_us"] == 1024
    assert found["cpu_s"] == {"game": 30.0} and found["boosts"] == 7
    assert found["exits"] == {"error": 1, "stall": 1} and found["held_back"] == ["fossilize_replay"]
    assert found["input"] == {"count": 4, "mean_us": 40.0, "histogram": [0] * 6 + [4]}
    assert found["attached_s"] == 60 and found["frames"] is None and found["power"] is None
    assert parse(json.dumps(found)) == found
    one = merged(found["waits"], FAVOURED)
    assert one and (one["p50_us"], one["p99_us"], one["longest_us"]) == (64, 1024, 1024)


def test_the_longest_wait_is_the_maximum_that_was_seen() -> None:
    source = Source()
    session = made(source)
    source.wait("game", 900)
    session.advance(source.read())
    source.longest_ns[1] = 0  # the maxima of the last minute go on
    session.advance(source.read())
    source.longest_ns = []  # and are none where no scheduler ran in it
    session.advance(source.read())
    waits = session.figures()["waits"]["game"]
    assert waits["longest_us"] == 900 and "normal" not in session.figures()["waits"]


def test_without_a_scheduler_nothing_is_made_up() -> None:
    source = Source(attached=False)
    session = made(source)
    source.time_s += 60
    session.advance(source.read())
    found = session.figures()
    assert found["waits"] is None and found["input"] is None and found["attached_s"] == 0


def test_programs_are_charged_with_their_part_of_the_session_alone() -> None:
    """A second game's session begins with the counts of the first."""
    ms = 1_000_000
    source = Source(programs={("cc1plus", "normal"): ProgramTimes(500 * ms, 5, 9 * ms)})
    session = made(source)
    source.held_back = frozenset({"fossilize_replay"})
    source.programs = {
        ("cc1plus", "normal"): ProgramTimes(600 * ms, 7, 9 * ms),
        ("ksoftirqd/0", "kthread"): ProgramTimes(20 * ms, 2, 1 * ms),
        ("ksoftirqd/11", "kthread"): ProgramTimes(30 * ms, 3, 2 * ms),
        ("Doom", "game"): ProgramTimes(40 * ms, 4, 1 * ms),
        ("idle", "normal"): ProgramTimes(),
        ("fossilize_repla", "background"): ProgramTimes(1 * ms, 1, 1 * ms, 6000 * ms, 70 * ms, 2000 * ms),
        ("make", "background"): ProgramTimes(ran_ns=5 * ms),
    }  # fmt: skip
    session.advance(source.read())
    found = session.figures()
    assert found["taken"] == {
        "game_s": 0.04,
        "others_s": 0.151,
        "programs": [
            {"program": "cc1plus", "s": 0.1, "times": 2, "longest_ms": 9.0},
            {"program": "ksoftirqd", "s": 0.05, "times": 5, "longest_ms": 2.0},
            {"program": "fossilize_repla", "s": 0.001, "times": 1, "longest_ms": 1.0},
        ],
    }
    assert found["held"] == [
        {"program": "fossilize_replay", "waited_s": 6.0, "ran_s": 2.0, "longest_ms": 70.0}
    ]
    assert parse(json.dumps(found)) == found
    source.programs = {(f"p{n}", "background"): ProgramTimes(n, 1, n, n, n, n) for n in range(1, 99)}  # fmt: skip
    session.advance(source.read())
    many = session.figures()
    assert len(many["taken"]["programs"]) == len(many["held"]) == 16


def test_the_work_of_the_gpu_is_that_of_the_session() -> None:
    s = 10**9
    source = Source(gpu=GpuWork(10 * s, 20 * s, 4 * s, 400))
    session = made(source)
    source.gpu = GpuWork(10 * s, 60 * s, 34 * s, 3400)
    session.advance(source.read())
    found = session.figures()
    assert found["gpu"] == {"busy_s": 30.0, "seconds": 40.0, "jobs": 3000}
    assert parse(json.dumps(found)) == found
    # The reading at the begin was of an earlier game.
    source.gpu = GpuWork(100 * s, 160 * s, 6 * s, 60)
    session.advance(source.read())
    assert session.figures()["gpu"] == {"busy_s": 6.0, "seconds": 60.0, "jobs": 60}
    source.gpu = GpuWork(100 * s, 160 * s, 0, 0)  # on a driver that has no such jobs
    session.advance(source.read())
    assert session.figures()["gpu"] is None


def test_a_record_of_an_earlier_version_has_no_programs() -> None:
    found = made(Source()).figures()
    assert found["taken"] is None and found["held"] is None and found["gpu"] is None
    older = {key: value for key, value in found.items() if key not in ("taken", "held", "gpu")}
    assert parse(json.dumps(older)) == found
    with pytest.raises(SessionError):
        parse(json.dumps(older | {"taken": {"game_s": 1}}))
    with pytest.raises(SessionError):
        parse(json.dumps(older | {"held": [{"program": 1}]}))


def test_time_with_and_without_a_scheduler() -> None:
    source = Source(attached=False)
    session = made(source)
    for attached, seconds in ((True, 10), (True, 20), (False, 5), (False, 40)):
        source.time_s += seconds
        source.attached = attached
        session.advance(source.read())
    assert session.figures()["attached_s"] == 25


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("waits", [1]), ("waits", {"game": 3}), ("boosts", -1), ("boosts", True), ("boosts", 1.5),
        ("cpu_s", {"x" * 200: 1}), ("cpu_s", {"game": float("nan")}), ("held_back", ["x" * 200]),
        ("held_back", "x"), ("exits", None), ("frames", {"count": 3}),
        ("power", {"source": 1, "joules": 1, "seconds": 1}),
        ("frames", FRAMES | {"histogram": [[1, "x"]]}), ("attached_s", 1e300), ("new", 1),
    ],
)  # fmt: skip
def test_a_malformed_record_is_refused(path: str, value: Any) -> None:
    good = made(Source(frames=FRAMES)).figures()
    assert parse(json.dumps(good)) == good
    with pytest.raises(SessionError):
        parse(json.dumps(good | {path: value}))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "[" * 9999, "{}", None, 3, '"x"' + " " * 70000]
)
def test_what_is_no_record_is_refused(text: Any) -> None:
    with pytest.raises(SessionError):
        parse(text)


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def test_rapl_adds_up_its_packages_over_a_wrap(tmp_path: Path) -> None:
    now = [0.0]
    package = tmp_path / "class/powercap/intel-rapl:0"
    write(package, name="package-0", energy_uj=90_000_000, max_energy_range_uj=100_000_000)
    write(tmp_path / "class/powercap/intel-rapl:0:0", name="core", energy_uj=1)
    write(tmp_path / "class/powercap/intel-rapl:1", name="package-1", energy_uj=0)
    meter = PowerMeter(tmp_path, lambda: now[0])
    assert meter.read() is None  # nothing has been used yet
    now[0] = 10
    write(package, energy_uj=5_000_000)
    assert meter.read() == Power("rapl", 15.0, 10.0)
    now[0] = 500  # a suspend
    write(package, energy_uj=50_000_000)
    assert meter.read() == Power("rapl", 15.0, 10.0)
    write(package, energy_uj="x" * 99)
    assert meter.read() == Power("rapl", 15.0, 10.0)


def test_a_battery_tells_while_it_discharges(tmp_path: Path) -> None:
    now = [0.0]
    battery = tmp_path / "class/power_supply/BAT0"
    write(battery, status="Discharging", charge_now=3_000_000, voltage_now=12_000_000)
    write(tmp_path / "class/power_supply/BAT-pad", status="Discharging", scope="Device")
    meter = PowerMeter(tmp_path, lambda: now[0])
    meter.read()
    now[0] = 60
    write(battery, charge_now=2_950_000)
    used = Power("battery", 0.05 * 12 * 3600, 60.0)
    found = meter.read()
    assert found and found.joules == pytest.approx(used.joules) and found.seconds == 60
    write(battery, status="Charging", charge_now=2_900_000)
    now[0] = 70
    assert meter.read() == found
    assert PowerMeter(tmp_path / "none").read() is None

# SPDX-License-Identifier: GPL-2.0-or-later
"""`tune` on a game, session after session: it finds the better value where the profile has a bad one, else nothing.

The bad value keeps the game from a CPU on which another program computes, for a tenth of a second after it has taken
that CPU. Both share one CPU of two, so that neither the supervisor nor the tuner waits behind them, and the frames are
told by the scheduler's side of the kernel. Blocks are shorter than those of the command, which takes none below 3 s.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import pytest

from scx_gamer.bench.workload import Workload, calibrate
from scx_gamer.cli.tune import Session
from scx_gamer.compare.blocks import Plan
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.tune.course import Kept
from tests.processes import running
from tests.vm.frames.test_frames import frames
from tests.vm.harness import Supervised, directories, start_supervisor, wait_until
from tests.vm.profiles.test_profiles import in_kernel

SESSIONS = 10
IN_VAIN = 2  # with twice the pairs of blocks in which a find was proved
TUNABLE, BAD, GOOD = "preempt_min_us", 100_000, 100
PROFILE = '[match]\nexe = ["workload"]\n[tunables]\n{} = {}\n'
DROP_IN = "etc/profiles/mine.toml.d/90-tuned.toml"
PLAN = Plan(shortest_s=1, longest_s=1.5, settle_s=1, time_s=40)
PINNED = ("taskset", "-c", "0")


@pytest.fixture
def sup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    """A supervisor whose folders are those of the commands of this process, with a value in the game's profile."""
    with directories() as root:
        for name, folder in {"RUNTIME": "run", "STATE": "state", "CONFIG": "etc"}.items():
            monkeypatch.setenv(f"SCX_GAMER_{name}_DIR", str(root / folder))
        (root / "etc/profiles").mkdir(parents=True)
        (root / "etc/profiles/mine.toml").write_text(PROFILE.format(TUNABLE, request.param))
        options = SupervisorOptions(mode="auto", config_dir=str(root / "etc"))
        with start_supervisor(options, root=root, state="idle") as started:
            yield started


@contextmanager
def played(sup: Supervised, rate: float) -> Iterator[None]:
    """A game that runs, beside a program that computes once the supervisor knows its frames."""
    shape = ("--shape", "fps240", "--warmup-ms", 0, "--seed", 1, "--seconds", 600)
    with Workload("game", *shape, "--calibration", rate, prefix=PINNED) as game:
        sup.ask("game_add", pid=game.pid)
        sup.wait_state("attached")
        wait_until("frames", lambda: frames(sup)["source"] == "scheduler", 60, 0.5)
        with running([*PINNED, "yes"], stdout=subprocess.DEVNULL):
            yield
    wait_until("no game", lambda: sup.state() == "idle", 60, 0.5)


def session(sup: Supervised, rate: float, number: int, before: int) -> Kept | None:
    """Tune for one session of the game; return what is kept, after it has come into force."""
    with played(sup, rate):
        (game,) = sup.ask("games")
        one = Session(game, [TUNABLE])
        one.run(PLAN)
        assert one.course is not None
        print(f"MEASURED session {number}: {one._said}; {asdict(one.course)}", flush=True)
        assert frames(sup)["source"] == "scheduler"
        kept = one.course.kept.get(TUNABLE)
        now = kept.value if kept else before
        wait_until(f"{now} in force", lambda: in_kernel()[TUNABLE] == now, 60, 0.5)
    return kept


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sup", [BAD], indirect=True)
def test_a_planted_better_setting_is_found(sup: Supervised) -> None:
    rate = calibrate(0.5, busy=True)
    kept = next(filter(None, (session(sup, rate, n, BAD) for n in range(SESSIONS))), None)
    assert kept is not None
    assert (kept.value, kept.before) == (GOOD, BAD)
    assert kept.change.low > 0
    drop_in = tomllib.loads((sup.root / DROP_IN).read_text())
    assert drop_in["tunables"] == {TUNABLE: GOOD}
    assert f"in {kept.pairs} pairs of blocks" in drop_in["why"][f"tunables.{TUNABLE}"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sup", [GOOD], indirect=True)
def test_nothing_is_adopted_where_nothing_is_planted(
    sup: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of blocks is drawn from a seed: by chance, a course in twenty may adopt something."""
    monkeypatch.setattr("secrets.randbits", lambda _bits: 1)
    rate = calibrate(0.5, busy=True)
    kept = [session(sup, rate, number, GOOD) for number in range(IN_VAIN)]
    assert kept == [None] * IN_VAIN
    assert not (sup.root / DROP_IN).exists()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Voice and stream programs beside games need no class: threads in step with a clock get what they need.

Hundreds of them get no more than their share. Two games of two workers a CPU each, four in all, and two hogs a CPU.
Beside them a program that nobody knows, with a thread that computes 0.3 ms every 5.3 ms, as a sound server's client of
256 samples at 48 kHz does, and a chain of five threads every 10 ms, each woken by the one before. The first is in step
with a clock and waits in between for one that it woke; the last is another process.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from scx_gamer.bench.cells import Spec, run_once
from scx_gamer.bench.session import CLI, Session, query, wait_kernel
from scx_gamer.bench.workload import Workload, calibrate

SECONDS = 2.0
GAMES = 2
CHAIN_US = 10_000


def _spec(shape: str, rate: float, seconds: float, period_us: int = 0) -> Spec:
    return Spec(shape, "hogs", 2.0, seconds, rate, period_us=period_us, settle_ms=500)


def _beside_games(rate: float) -> list[dict[str, Any]]:
    """Return the results of the program that nobody knows and of the games."""
    with ExitStack() as stack:
        long = _spec("workers", rate, SECONDS + 1.5).game_args()
        games = [
            stack.enter_context(Workload("game", *long, prefix=[*CLI, "exec", "--"]))
            for _ in range(GAMES)
        ]
        for game in games:
            game.read_line()
        stranger = _spec("desktop", rate, SECONDS, CHAIN_US)
        voice = stack.enter_context(Workload("game", *stranger.game_args()))
        stack.enter_context(Workload("load", *stranger.load_args()))
        return [one.result(240) for one in (voice, *games)]


def test_threads_in_step_with_a_clock_are_never_late() -> None:
    rate = calibrate()
    with Session(mode="always"):
        wait_kernel("scx_gamer")
        ours = _beside_games(rate)
        query("stop")
        wait_kernel("")
        default = _beside_games(rate)
    for name, results in (("ours", ours), ("default", default)):
        lost = [one["audio_underruns"] for one in results]
        waits = [one["wake_to_run_us"]["audio"]["p99"] for one in results]
        print(
            f"MEASURED sound beside games, {name}: {lost} underruns, p99 {waits} us to run, "
            f"chain {results[0]['on_time_ratio']:.1%} on time, "
            f"games' frame p99 {[one['frame_latency_us']['p99'] for one in results[1:]]} us"
        )
    assert ours[0]["audio_periods"] > SECONDS * 150
    assert [one["audio_underruns"] for one in ours] == [0] * (1 + GAMES)
    assert ours[0]["on_time_ratio"] >= 0.99
    assert default[0]["audio_underruns"], "this load says nothing"


def test_hundreds_of_threads_in_step_take_no_more_than_their_share() -> None:
    """All of them wake up at once, a hundred times a second, with the work of half of the machine."""
    rate = calibrate()
    with Session(mode="always"):
        wait_kernel("scx_gamer")
        cells = [
            run_once(
                Spec("few", load, 64.0, SECONDS, rate, settle_ms=500), "scx_gamer", marked=True,
                game_prefix=[*CLI, "exec", "--"],
            )
            for load in ("none", "clocks")
        ]  # fmt: skip
    alone, beside = (cell.frame_latency_us.p99 for cell in cells)
    print(
        f"MEASURED 256 threads in step: frame p99 {alone} -> {beside} us, "
        f"{cells[1].background_work} bursts/s, {cells[1].on_time_ratio:.1%} on time"
    )
    assert cells[1].background_work > 10_000, "this load says nothing"
    assert cells[1].on_time_ratio == 1
    assert beside < alone * 1.25

# SPDX-License-Identifier: GPL-2.0-or-later
"""The way from input to the first run of the game's thread that it woke: counted for that thread, and for no other."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from evdev import UInput, ecodes

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import find_object
from tests.processes import running
from tests.vm.harness import Supervised, directories, start_supervisor, wait_until
from tests.vm.input import devices

PRESSES, EVERY_S = 20, 0.1
# An emulated CPU takes 50 times as long from the hook to the wake-up of the device's readers.
WAKE_US = 5000


@pytest.fixture
def supervisor() -> Iterator[Supervised]:
    devices.load_modules()
    own = {
        "SCX_GAMER_SCHED_OBJECT": str(find_object("sched")),
        "SCX_GAMER_SCHED_RODATA": f"input_wake_us={WAKE_US}",
    }
    with start_supervisor(SupervisorOptions(mode="always"), env=own) as sup:
        yield sup


@pytest.fixture
def keys(supervisor: Supervised) -> Iterator[UInput]:
    with devices.keyboard("measured keys") as found:
        number = Path("/sys/class/input", Path(node(found)).name, "device").resolve().name

        def listened() -> bool:
            return any(
                f"input{d['number']}" == number and d["path"] for d in supervisor.ask("devices")
            )

        wait_until("the keyboard", listened, 60, 0.2)
        yield found


def node(keys: UInput) -> str:
    return str(keys.device.path)


def answers(supervisor: Supervised) -> tuple[int, float]:
    """Count and sum, in seconds, of the histogram."""
    stats = supervisor.ask("snapshot")["cpu_stats"]
    return sum(stats["input_hist"]), stats["input_sum_ns"][0] / 1e9


def press(supervisor: Supervised, keys: UInput) -> tuple[int, float]:
    """Press and release a key PRESSES times; return how many answers that led to, and their mean in seconds."""
    time.sleep(1)
    before = answers(supervisor)
    for number in range(2 * PRESSES):
        devices.key(keys, ecodes.KEY_W, 1 - number % 2)
        time.sleep(EVERY_S)
    after = answers(supervisor)
    count = after[0] - before[0]
    return count, (after[1] - before[1]) / max(count, 1)


def start(stack: ExitStack, *command: str | Path, stdin: int = subprocess.DEVNULL) -> int:
    return stack.enter_context(running(command, stdin=stdin, stdout=subprocess.DEVNULL)).pid


def answers_each_press(
    supervisor: Supervised, keys: UInput, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Assert that the game's first run after each event is counted."""
    count, mean_s = press(supervisor, keys)
    with capsys.disabled():
        print(
            f"\nMEASURED input to first run, {how}: {count} of {2 * PRESSES}, {mean_s * 1e3:.2f} ms"
        )
    assert 1.8 * PRESSES <= count <= 2 * PRESSES
    assert 0 < mean_s < 0.1


def test_a_game_that_reads_the_device(
    supervisor: Supervised, keys: UInput, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        supervisor.ask("game_add", pid=start(stack, "cat", node(keys)))
        answers_each_press(supervisor, keys, capsys, "direct")


def test_a_game_that_may_use_one_cpu(
    supervisor: Supervised, keys: UInput, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel calls no select_cpu for a thread with one CPU, which every thread of a machine with one CPU is."""
    with ExitStack() as stack:
        game = start(stack, "cat", node(keys))
        os.sched_setaffinity(game, {0})
        supervisor.ask("game_add", pid=game)
        answers_each_press(supervisor, keys, capsys, "direct, one CPU")


def test_a_game_behind_a_compositor(
    supervisor: Supervised, keys: UInput, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(directories())
        compositor = Path(shutil.copy("/bin/cat", folder / "kwin_wayland"))
        read, write = os.pipe()
        game = start(stack, "cat", stdin=read)
        supervisor.ask("game_add", pid=game)
        stack.enter_context(
            running([compositor, node(keys)], stdin=subprocess.DEVNULL, stdout=write)
        )
        for fd in (read, write):
            os.close(fd)

        def critical() -> bool:
            return bool(supervisor.ask("snapshot")["detection"]["classes"].get("critical"))

        wait_until("the compositor's class", critical, 60, 0.2)
        answers_each_press(supervisor, keys, capsys, "by a compositor")


def test_wake_ups_that_no_input_led_to(
    supervisor: Supervised, keys: UInput, capsys: pytest.CaptureFixture[str]
) -> None:
    """A game that wakes up by its own clock beside a reader of the device that is none."""
    with ExitStack() as stack:
        start(stack, "cat", node(keys))
        clock = "import time\nwhile True: time.sleep(0.02)"
        supervisor.ask("game_add", pid=start(stack, "python3", "-S", "-c", clock))
        runs = supervisor.ask("snapshot")["cpu_stats"]["runs"][1]
        count, _ = press(supervisor, keys)
        runs = supervisor.ask("snapshot")["cpu_stats"]["runs"][1] - runs
        with capsys.disabled():
            print(f"\nMEASURED input to first run, not led to: {count} of {runs} runs")
        assert runs > 100
        assert count < PRESSES / 4

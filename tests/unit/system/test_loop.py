# SPDX-License-Identifier: GPL-2.0-or-later
"""The event loop: urgent sources, removal, and signals that interrupt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from scx_gamer.system.loop import Loop


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Yield eight pipes; each but the first is readable."""
    made = [os.pipe2(os.O_NONBLOCK) for _ in range(8)]
    for _, writer in made[1:]:
        os.write(writer, b"x")
    yield made
    for pair in made:
        for fd in pair:
            os.close(fd)


@pytest.mark.parametrize("urgent", [True, False])
def test_an_urgent_source_waits_for_one_callback_only(
    pipes: list[tuple[int, int]], urgent: bool
) -> None:
    order: list[int] = []
    (first, trigger), *others = pipes
    with Loop() as loop:

        def on_input(fd: int) -> None:
            os.read(fd, 8)
            order.append(0)

        def work(fd: int) -> None:
            os.read(fd, 8)
            order.append(fd)
            if len(order) == 1:
                os.write(trigger, b"x")

        loop.add_fd(first, on_input, name="input", urgent=urgent)
        for reader, _ in others:
            loop.add_fd(reader, work, name="work")
        loop.call_later(0, lambda: order.append(-1), name="timer")
        loop.call_later(0.05, loop.stop, name="end")
        loop.run()
        for reader, _ in pipes:
            loop.remove_fd(reader)
    assert sorted(order) == sorted([-1, 0, *(reader for reader, _ in others)])
    assert order.index(0) == 1 if urgent else order.index(0) == len(order) - 1


def test_an_urgent_source_is_served_between_timers(pipes: list[tuple[int, int]]) -> None:
    order: list[str] = []
    reader, trigger = pipes[0]

    def on_input(fd: int) -> None:
        os.read(fd, 8)
        order.append("input")

    def first() -> None:
        order.append("first")
        os.write(trigger, b"x")

    with Loop() as loop:
        loop.add_fd(reader, on_input, name="input", urgent=True)
        loop.call_later(0, first, name="first")
        loop.call_later(0, lambda: order.append("second"), name="second")
        loop.call_later(0.05, loop.stop, name="end")
        loop.run()
        loop.remove_fd(reader)
    assert order == ["first", "input", "second"]


def test_a_removed_source_is_not_served(pipes: list[tuple[int, int]]) -> None:
    (first, trigger), (other, _), *_ = pipes
    with Loop() as loop:

        def work(fd: int) -> None:
            os.read(fd, 8)
            os.write(trigger, b"x")
            loop.remove_fd(first)

        loop.add_fd(first, lambda _fd: pytest.fail("it was removed"), name="input", urgent=True)
        loop.add_fd(other, work, name="work")
        loop.call_later(0.05, loop.stop, name="end")
        loop.run()
        loop.remove_fd(other)


def test_a_signal_interrupts_interruptible_work_only() -> None:
    order: list[str] = []

    def work() -> str:
        order.append("begin")
        os.kill(os.getpid(), signal.SIGUSR1)
        order.append("end")
        return "done"

    with Loop() as loop:
        loop.add_signal(
            signal.SIGUSR1,
            lambda: order.append("later"),
            in_signal_handler=lambda: order.append("handler"),
        )
        assert work() == "done"
        assert order == ["begin", "end"]  # BPF_PROG_LOAD would fail with EAGAIN
        assert loop.run_interruptible(work) == "done"
        assert order[2:] == ["handler", "begin", "handler", "end"]
        loop.call_later(0.05, loop.stop, name="end")
        loop.run()
    assert order[-1] == "later"


def test_a_failing_signal_handler_does_not_end_the_work(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ValueError("broken")

    with Loop() as loop:
        loop.add_signal(signal.SIGUSR1, lambda: None, in_signal_handler=broken)
        assert loop.run_interruptible(lambda: os.kill(os.getpid(), signal.SIGUSR1)) is None
    assert "broken" in caplog.text


def test_a_signal_pending_at_close_does_not_end_the_process() -> None:
    program = (
        "import os, signal; from scx_gamer.system.loop import Loop\n"
        "with Loop() as loop:\n"
        "    loop.add_signal(signal.SIGIO, print, in_signal_handler=print)\n"
        "    os.kill(os.getpid(), signal.SIGIO)\n"
        "assert signal.getsignal(signal.SIGIO) is signal.SIG_DFL\n"
        "assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

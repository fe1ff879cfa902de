# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's life on a real kernel: attach, detach, signals, one instance, its own cost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from scx_gamer import control
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.control.snapshot import SnapshotBody, StatusBody
from scx_gamer.games.proc import Process, ProcFs, Tree
from tests.typed import mismatches
from tests.vm.harness import (
    SCHED_EXT,
    directories,
    foreign_object,
    foreign_scheduler,
    kernel_state,
    launch,
    scheduling,
    start_supervisor,
    wait_until,
)

ALWAYS = SupervisorOptions(mode="always")


def children(pid: int) -> list[Process]:
    return Tree.scan(ProcFs()).children(pid)


def ticks_grow(before: int, ask: object) -> bool:
    assert callable(ask)
    return int(ask()["scheduler"]["ticks"]) > before


def test_attaches_shows_itself_and_leaves_nothing() -> None:
    with start_supervisor() as sup:
        assert (SCHED_EXT / "root/ops").read_text().strip() == "scx_gamer"
        status = sup.status()
        assert status["kernel"]["loaded"] == "scx_gamer" and status["scheduler"]["effects"] == 1
        wait_until("timer ticks", lambda: ticks_grow(status["scheduler"]["ticks"], sup.status))
        assert not list(mismatches(status, StatusBody))
        assert not list(mismatches(sup.ask("snapshot"), SnapshotBody))
        published = json.loads((sup.root / "run/status.json").read_text())
        assert published["state"] == "attached" and published["pid"] == sup.pid
        line = (sup.root / "run/hud").read_text()
        assert line.split()[:2] == ["scx_gamer:", "attached"] and line.count("\n") == 1
        assert sup.end() == 0
        assert not (sup.root / "run/status.json").exists()
        assert not (sup.root / "run/control.sock").exists()


def test_kill_detaches_and_the_next_start_counts_it() -> None:
    with directories() as root:
        with start_supervisor(root=root) as sup:
            generation = sup.status()["generation"]
            began = time.monotonic()
            os.kill(sup.pid, signal.SIGKILL)
            wait_until("disabled", lambda: kernel_state() == "disabled")
            print(f"disabled {1000 * (time.monotonic() - began):.0f} ms after SIGKILL")
            sup.process.wait(30)
        with start_supervisor(root=root) as sup:
            status = sup.status()
            assert status["unclean_ends"] == 1 and status["generation"] == generation + 1
            assert "ended uncleanly" in sup.text()


def test_stopped_process_loses_its_effects_and_gets_them_back() -> None:
    with start_supervisor() as sup:
        wait_until("effects on", lambda: sup.status()["scheduler"]["effects"] == 1, 30)
        before = sup.status()["scheduler"]["effects_off"]  # 1 where attaching took longer than that
        os.kill(sup.pid, signal.SIGSTOP)
        time.sleep(6)  # the heartbeat is stale after 3 s, the kernel looks every 100 ms
        os.kill(sup.pid, signal.SIGCONT)
        assert kernel_state() == "enabled"
        wait_until("effects on", lambda: sup.status()["scheduler"]["effects"] == 1, 30)
        status = sup.status()
        # more where the whole machine stood still as long
        assert status["scheduler"]["effects_off"] > before and status["state"] == "attached"


def test_terminate_in_idle_off_and_conflict() -> None:
    with start_supervisor(SupervisorOptions(mode="auto"), state="idle") as sup:
        assert kernel_state() == "disabled"
        assert sup.end() == 0
    with directories() as root:
        with start_supervisor(root=root) as sup:
            assert sup.ask("stop")["state"] == "off" and kernel_state() == "disabled"
            assert sup.end() == 0
        with start_supervisor(root=root, state="off") as sup:  # over its own restart
            assert kernel_state() == "disabled"
            assert sup.ask("start")["state"] == "attached"
    with foreign_scheduler(), directories() as root:
        sup = launch(ALWAYS, root)
        try:
            cause = sup.wait_state("conflict")["cause"]
            assert "someone_else" in cause
            with pytest.raises(control.ControlError) as refused:
                sup.ask("start")
            assert refused.value.code == 77
        finally:
            assert sup.end() == 0
        assert (SCHED_EXT / "root/ops").read_text().strip() == "someone_else"


def test_attaches_after_the_other_scheduler_and_not_between_two() -> None:
    """scx_loader ends one scheduler and loads the next. Whoever attaches in between would end its user's choice."""
    free_s = 10.0
    with directories() as root, foreign_object(b"another_one") as another, ExitStack() as stack:
        with foreign_scheduler():
            sup = launch(SupervisorOptions(mode="always", conflict_free_s=free_s), root)
            stack.callback(sup.end)
            sup.wait_state("conflict")
        with scheduling(another):
            time.sleep(free_s + 5)
            status = sup.ask("snapshot")
            assert status["state"] == "conflict" and status["counters"]["attaches"]["busy"] == 1
            assert (SCHED_EXT / "root/ops").read_text().strip() == "another_one"
            began = time.monotonic()
        cause = sup.wait_state("attached", 120)["cause"]
        waited_s = time.monotonic() - began
        print(f"attached {waited_s:.1f} s after the other scheduler's end")
        assert waited_s >= free_s and "has ended" in cause


def test_second_interrupt_is_not_needed_and_the_first_detaches() -> None:
    with start_supervisor() as sup:
        assert sup.end(signal.SIGINT) == 0
        assert kernel_state() == "disabled"


def test_two_instances() -> None:
    with start_supervisor() as sup:
        second = launch(ALWAYS, sup.root)
        try:
            assert second.process.wait(120) == 77
        finally:
            second.process.kill()
        assert "another supervisor" in sup.text() and sup.state() == "attached"


def test_kernel_without_sched_ext_is_unsupported() -> None:
    with directories() as root:
        hide = f'mount -t tmpfs none {SCHED_EXT} && exec "$@"'
        sup = launch(ALWAYS, root)  # for its arguments; refused below in a mount namespace
        sup.end(signal.SIGKILL)
        wait_until("clean", lambda: kernel_state() == "disabled")
        environ = {
            **os.environ,
            "SCX_GAMER_RUNTIME_DIR": f"{root}/run2",
            "SCX_GAMER_STATE_DIR": f"{root}/state2",
        }
        arguments = sup.process.args
        assert isinstance(arguments, list)
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", hide, "sh", *[str(a) for a in arguments]],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 69, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and "sched_ext" in done.stderr
        assert json.loads(Path(root, "run2/status.json").read_text())["state"] == "unsupported"


def test_game_by_pid_attaches_and_its_end_detaches() -> None:
    with start_supervisor(SupervisorOptions(mode="auto"), state="idle") as sup:
        # tasks are counted when they run, so these wake now and then
        naps = "while :; do sleep 0.1; done"
        game = subprocess.Popen(["sh", "-c", f"({naps}) & {naps}"], start_new_session=True)
        try:
            wait_until("children", lambda: children(game.pid))
            sup.ask("game_add", pid=game.pid)
            sup.wait_state("attached")
            wait_until("its shell", lambda: sup.ask("games")[0]["processes"] >= 2)
            wait_until("game tasks", lambda: sup.status()["scheduler"]["tasks"]["game"] >= 1)
            sup.ask("restart")  # classes are told again
            wait_until("game tasks", lambda: sup.ask("snapshot")["control"]["msgs"][4] >= 2)
            wait_until("its shell", lambda: sup.ask("games")[0]["processes"] >= 2)
        finally:
            os.killpg(game.pid, signal.SIGKILL)
            game.wait(10)
        sup.wait_state("idle")
        assert kernel_state() == "disabled" and sup.ask("games") == []


def test_memory_at_rest() -> None:
    """Each of the extension modules named here would be megabytes and a tenth of a second of the start."""
    with start_supervisor(SupervisorOptions(mode="auto"), state="idle") as sup:
        print(f"{sup.rss_kb()} kB resident")
        assert sup.rss_kb() < 30 * 1024
        mapped = Path(f"/proc/{sup.pid}/maps").read_text()
        assert "/_ctypes." in mapped
        assert not re.search(r"/(_asyncio|_ssl|_decimal|_pydantic_core)\.", mapped)


@pytest.mark.needs("/sys/power/pm_test")
def test_a_suspend_asks_the_devices_again() -> None:
    """The kernel freezes every process for some seconds, as on the way into a suspend."""
    pm_test = Path("/sys/power/pm_test")
    with start_supervisor(SupervisorOptions(mode="always")) as sup:
        before = sup.ask("snapshot")
        assert before["sleeps"] == 0
        pm_test.write_text("freezer")
        try:
            Path("/sys/power/state").write_text("freeze")
        finally:
            pm_test.write_text("none")
        wait_until("resync", lambda: sup.status()["sleeps"] == 1)
        after = sup.ask("snapshot")
        assert after["state"] == "attached"
        resyncs = [s["input_counters"].get("resyncs", 0) for s in (before, after)]
        assert resyncs[1] == resyncs[0] + 1

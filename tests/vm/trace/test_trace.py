# SPDX-License-Identifier: GPL-2.0-only
"""Each question of `trace`, asked of a process that does something known, on a real kernel with the real bcc."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.libbpf import kernel
from tests.pages import PAGES, commands_of
from tests.vm.harness import start_supervisor, wait_until
from tests.vm.input import devices

TRACE = (sys.executable, "-m", "scx_gamer", "trace")
TRACING = Path("/sys/kernel/tracing")
EVENTS = pytest.mark.needs(str(TRACING / "events/sched/sched_switch"))
UPROBES = pytest.mark.needs(str(TRACING / "uprobe_events"))
KPROBES = pytest.mark.needs(str(TRACING / "kprobe_events"))


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target") / "target"
    source = Path(__file__).with_name("target.c")
    subprocess.run(
        ["cc", "-O1", "-rdynamic", "-pthread", "-o", path, source], check=True, timeout=120
    )
    return path


@contextmanager
def target(binary: Path, *args: str) -> Iterator[int]:
    with subprocess.Popen([binary, "600", *args], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


def trace(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRACE, *args],
        capture_output=True, text=True, timeout=180, check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip


def answer(*args: str, **env: str) -> dict[str, Any]:
    done = trace(*args, "--json", "--seconds", "3", env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == 1 and found["lost"] == 0
    return found


def groups(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in found["groups"]}


@EVENTS
def test_wakeups_by_waker_of_the_game_that_runs(binary: Path) -> None:
    """Joined to the running session: no PID, the game that the supervisor knows."""
    with start_supervisor() as supervised, target(binary) as pid:
        supervised.ask("game_add", pid=pid)
        found = answer("wakeups", SCX_GAMER_RUNTIME_DIR=str(supervised.root / "run"))
        assert found["pid"] == pid
        by = groups(found)
        # 3 s of 200 wake-ups a second by the ticker; its own timer is an interrupt
        assert 300 < by["ticker"]["count"] < 900, by
        assert by["(interrupt)"]["count"] > 100 or sum(g["count"] for g in by.values()) > 900, by
        ticker = by["ticker"]
        assert 0 < ticker["p50_us"] <= ticker["p99_us"] <= ticker["max_us"] * 1.13
        assert sum(count for _, count in ticker["histogram"]) == ticker["count"]


@EVENTS
def test_threads_that_begin_later_are_followed(binary: Path) -> None:
    """A process whose only thread makes another each 50 ms, and waits for it."""
    code = (
        "import threading, time\n"
        "while True:\n"
        "    t = threading.Thread(target=lambda: time.sleep(0.02)); t.start(); t.join()\n"
        "    time.sleep(0.03)\n"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as process:
        try:
            time.sleep(0.5)
            found = answer("wakeups", str(process.pid))
        finally:
            process.kill()
    # its own wake-ups from sleep alone are one a round; the new threads double that
    rounds = 3 / 0.05
    assert sum(group["count"] for group in found["groups"]) > rounds, found


@UPROBES
def test_frames_are_calls_of_the_chosen_function(binary: Path) -> None:
    with target(binary) as pid:
        found = answer("frames", str(pid), "--function", f"{binary}:draw_frame")
        by = groups(found)
        assert set(by) == {"drawer"}
        assert 75 < by["drawer"]["count"] < 151
        assert 17_000 < by["drawer"]["p50_us"] < 26_000
        shown = trace("frames", str(pid), "--seconds", "1", "--function", "target:draw_frame")
        assert "drawer" in shown.stdout and "##" in shown.stdout, shown
        wrong = trace("frames", str(pid), "--function", "target:no_such_function")
        assert wrong.returncode == 1
        assert "no function no_such_function" in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1


def test_page_flips_are_watched_where_there_are_any(binary: Path) -> None:
    has = " drm_mode_atomic_ioctl" in Path("/proc/kallsyms").read_text()
    with target(binary) as pid:
        done = trace("frames", str(pid), "--seconds", "0.5")
        if has:
            assert "nothing seen" in done.stdout
        else:
            assert done.returncode == 69
            assert "--function" in done.stderr


@EVENTS
def test_who_preempts_names_the_hog(binary: Path) -> None:
    with target(binary, "spin") as pid:
        before = set(kernel.ids("prog"))
        argv = [*TRACE, "who-preempts", str(pid), "--json", "--seconds", "8"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as asked:
            # not earlier: the compiler needs a CPU too
            wait_until("the probe", lambda: set(kernel.ids("prog")) - before, 150)
            hogs = [
                subprocess.Popen(["sh", "-c", "while :; do :; done"])
                for _ in range(2 * (os.cpu_count() or 1))
            ]
            out, _ = asked.communicate(timeout=150)
            for hog in hogs:
                hog.kill()
                hog.wait()
    found = json.loads(out)
    by = groups(found)
    assert by["sh"]["count"] >= 3, by
    assert by["sh"]["max_us"] > 500, by


@EVENTS
@KPROBES
def test_input_from_event_to_reader(binary: Path) -> None:
    devices.load_modules()
    keyboard = devices.keyboard("trace keys")
    try:
        path = str(keyboard.device.path)
        wait_until("the device's node", lambda: Path(path).exists())
        with target(binary, path):
            argv = [*TRACE, "input", "--json", "--seconds", "4"]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as asked:
                sent = 0
                while asked.poll() is None:
                    devices.key(keyboard, 30, sent % 2)
                    sent += 1
                    time.sleep(0.01)
                assert asked.stdout is not None
                found = json.loads(asked.stdout.read())
    finally:
        keyboard.close()
    reader = groups(found)["reader"]
    assert 100 < reader["count"] <= sent
    assert 0 < reader["p50_us"] < 20_000


@UPROBES
def test_nothing_stays_when_it_is_interrupted_or_killed(binary: Path) -> None:
    with target(binary) as pid:
        kinds = ("prog", "map", "link")
        before = {kind: set(kernel.ids(kind)) for kind in kinds}
        for number, status in ((signal.SIGINT, 0), (signal.SIGKILL, -9)):
            argv = [sys.executable, "-m", "scx_gamer", "trace", "frames", str(pid), "--json",
                    "--function", f"{binary}:draw_frame", "--seconds", "300"]  # fmt: skip
            with subprocess.Popen(
                argv, stdout=subprocess.PIPE, text=True, start_new_session=True
            ) as asked:
                wait_until("the probe", lambda: set(kernel.ids("prog")) - before["prog"], 120)
                time.sleep(2)
                if number == signal.SIGINT:  # Ctrl-C goes to the whole group
                    os.killpg(asked.pid, number)
                else:
                    asked.send_signal(number)
                out, _ = asked.communicate(timeout=60)
                assert asked.returncode == status
                if number == signal.SIGINT:
                    assert groups(json.loads(out))["drawer"]["count"] > 10
            wait_until(
                "everything gone",
                lambda: all(set(kernel.ids(kind)) <= before[kind] for kind in kinds),
                30,
            )
    for path in (TRACING / "uprobe_events", TRACING / "kprobe_events"):
        assert not path.exists() or path.read_text() == ""


@EVENTS
def test_bcc_that_wants_more_names_the_package_of_the_headers(binary: Path) -> None:
    """Our headers taken away: the kernel's are asked for, by name where this machine has none either."""
    program = (
        "from pathlib import Path; from scx_gamer.trace import child, asking\n"
        "child.HEADERS = Path('/nonexistent')\n"
        "child.compile_probe(asking.Question('input', None, 1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert f"install linux-headers-{os.uname().release}" in done.stderr, done.stderr


@EVENTS
@KPROBES
def test_the_commands_of_the_pages(binary: Path) -> None:
    """As a reader types them, one after the other, beside a supervisor that knows the game."""
    lines = [line for page in PAGES for line in commands_of(page)]
    lines = [line for line in dict.fromkeys(lines) if line.startswith("scx-gamer trace ")]
    assert {line.split()[2] for line in lines} == {"wakeups", "who-preempts", "input"}
    with start_supervisor() as supervised, target(binary) as pid:
        supervised.ask("game_add", pid=pid)
        env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(supervised.root / "run")}
        for line in lines:
            done = subprocess.run(
                line.replace("PID", str(pid)).split(),
                env=env, capture_output=True, text=True, timeout=180, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            assert done.stdout and "Traceback" not in done.stderr, line

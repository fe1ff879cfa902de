# SPDX-License-Identifier: GPL-2.0-or-later
"""Questions of `trace` that probe functions, and what is left of probes: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from scx_gamer.libbpf import kernel
from tests.processes import running
from tests.vm.harness import wait_until
from tests.vm.input import devices
from tests.vm.trace.conftest import (
    EVENTS,
    KPROBES,
    TRACE,
    TRACING,
    UPROBES,
    answer,
    groups,
    target,
    trace,
)


@UPROBES
def test_frames_are_calls_of_the_chosen_function(binary: Path) -> None:
    with target(binary) as pid:
        found = answer("frames", str(pid), "--function", f"{binary}:draw_frame")
        by = groups(found)
        assert set(by) == {"drawer"}
        # 50 a second, and no call twice
        assert 75 < by["drawer"]["count"] <= 50 * found["seconds"] + 2
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
            assert "no events" in done.stdout
        else:
            assert done.returncode == 69
            assert "--function" in done.stderr


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
            with running(argv, stdout=subprocess.PIPE, text=True) as asked:
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
            with running(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as asked:
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

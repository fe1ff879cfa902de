# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands against a real supervisor on a real kernel, as a user types them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from scx_gamer.libbpf import kernel
from tests.processes import running
from tests.vm.harness import wait_until

PORT = 9715
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


class Cli:
    """Runs commands in directories of their own."""

    def __init__(self, top: Path) -> None:
        self.etc = top / "etc"
        self.etc.mkdir()
        (self.etc / "config.toml").write_text(f"[metrics]\nenabled = true\nport = {PORT}\n")
        self.env = {
            **os.environ,
            "SCX_GAMER_RUNTIME_DIR": str(top / "run"),
            "SCX_GAMER_STATE_DIR": str(top / "state"),
            "SCX_GAMER_CONFIG_DIR": str(self.etc),
        }

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "scx_gamer", *args]

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*args), env=self.env, capture_output=True, text=True, timeout=120, check=False
        )

    def status(self) -> dict[str, Any]:
        done = self("status", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def wait(self, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + 90
        while (found := self.status()).get("state") != state:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found

    @contextmanager
    def running(self, mode: str) -> Iterator[subprocess.Popen[bytes]]:
        with running(self.argv("run", "--mode", mode), env=self.env) as process:
            try:
                self.wait("attached" if mode == "always" else "idle")
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0


@pytest.fixture
def cli() -> Iterator[Cli]:
    with TemporaryDirectory(dir="/run") as folder:
        yield Cli(Path(folder))


def values(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("scx_gamer_"): float(value) for name, _, value in lines}


def scraped() -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=60) as answer:
        return values(answer.read().decode())


def work(seconds: float) -> None:
    """Two busy shells per CPU, so that somebody waits."""
    hogs = [
        subprocess.Popen(["timeout", str(seconds), "sh", "-c", "while :; do :; done"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    for hog in hogs:
        hog.wait()


def test_metrics_move_with_a_real_scheduler(cli: Cli) -> None:
    STATS.write_text("1")
    try:
        with cli.running("always"):
            before = scraped()
            work(2)
            after = scraped()
            by_cli = values(cli("metrics").stdout)
    finally:
        STATS.write_text("0")
    grows = (
        'enqueues_total{class="normal"}',
        'runs_total{class="normal"}',
        'run_seconds_total{class="normal"}',
        'wait_seconds_count{class="normal"}',
        'wait_seconds_sum{class="normal"}',
        'messages_total{type="heartbeat"}',
        'process_events_total{event="fork"}',
        'program_runs_total{program="scxg_enqueue"}',
        'program_seconds_total{program="scxg_enqueue"}',
        "timer_ticks_total",
        "process_cpu_seconds_total",
        "loop_passes_total",
    )
    for name in grows:
        assert after[name] > before[name], name
    assert after['state{state="attached"}'] == after["enabled"] == after["effects"] == 1
    assert after["process_resident_bytes"] > 10 << 20
    assert by_cli.keys() == after.keys()
    assert by_cli["timer_ticks_total"] >= after["timer_ticks_total"]


def test_counters_survive_a_restart_of_the_scheduler(cli: Cli) -> None:
    with cli.running("always"):
        work(1)
        before = scraped()
        assert cli("restart").returncode == 0
        cli.wait("attached")
        after = scraped()
    assert after["generation"] == before["generation"] + 1
    for name, value in before.items():
        if re.match(r"(enqueues|runs|run_seconds|migrations|steals|keep_running)_total", name):
            assert after[name] >= value, name
    assert after['runs_total{class="normal"}'] > before['runs_total{class="normal"}'] > 0


def test_exec_is_the_game_as_long_as_it_lives(cli: Cli) -> None:
    alone = cli("exec", "--", "sh", "-c", "exit 5")
    assert alone.returncode == 5
    assert len(alone.stderr.splitlines()) == 1
    with cli.running("auto"):
        argv = cli.argv("exec", "--", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.2; done")
        with running(argv, env=cli.env) as game:
            cli.wait("attached")
            got = scraped()
            assert got["game_active"] == 1
            assert json.loads(cli("games", "list", "--json").stdout)[0]["pid"] == game.pid
            game.send_signal(signal.SIGTERM)
            assert game.wait(30) == 9
        cli.wait("idle")
        assert scraped()["game_active"] == 0


def test_an_idle_supervisor_is_small(cli: Cli) -> None:
    """Started as the unit starts it, no game there: the limit is 30 MB, shared pages of libraries included."""
    (cli.etc / "config.toml").write_text("")
    with cli.running("auto") as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        print(f"MEASURED idle supervisor: {int(found[1]) / 1024:.1f} MB resident")
        assert int(found[1]) <= 30 * 1024


def test_stop_stays_off_and_start_brings_it_back(cli: Cli) -> None:
    with cli.running("always"):
        assert cli("stop").returncode == 0
        assert cli.status()["state"] == "off"
        assert scraped()["enabled"] == 0
        assert cli("start").returncode == 0
        cli.wait("attached")
        second = cli("run")
        assert second.returncode == 77
        assert "Traceback" not in second.stderr
    assert cli("status").returncode == 3


def test_doctor_finds_this_machine_fit_and_changes_nothing(cli: Cli) -> None:
    cli("doctor")  # libraries in the page cache, modules that any BPF load pulls in
    kinds = ("prog", "map", "link")
    modules = Path("/proc/modules").read_text().count("\n")
    before = {kind: kernel.ids(kind) for kind in kinds}
    done = cli("doctor", "--json")
    report = json.loads(done.stdout)
    levels = {finding["check"]: finding["level"] for finding in report["findings"]}
    assert levels["scheduler"] == levels["kernel"] == levels["hook drain"] == "ok", report
    assert done.returncode == report["exit"] == 0
    wait_until("as before", lambda: {kind: kernel.ids(kind) for kind in kinds} == before)
    assert Path("/proc/modules").read_text().count("\n") == modules


def test_doctor_names_a_bad_configuration(cli: Cli) -> None:
    (cli.etc / "config.toml").write_text("[tunables]\nslice_us = 1\n")
    done = cli("doctor")
    assert done.returncode == 78
    assert "config.toml:2: tunables.slice_us is 1" in done.stdout
    refused = cli("run")
    assert refused.returncode == 78
    assert "use a value from 500 to 20000" in refused.stderr

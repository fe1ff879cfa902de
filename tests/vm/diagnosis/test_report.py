# SPDX-License-Identifier: GPL-2.0-or-later
"""report and doctor beside a real supervisor, after a real end of the scheduler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.games.threads import NO_GAME
from scx_gamer.libbpf import kernel
from tests.processes import running
from tests.vm.harness import faulty, foreign_scheduler, start_supervisor, wait_until

MAIN = (sys.executable, "-m", "scx_gamer")


def environment(root: Path) -> dict[str, str]:
    return {
        **os.environ,
        "SCX_GAMER_RUNTIME_DIR": str(root / "run"),
        "SCX_GAMER_STATE_DIR": str(root / "state"),
        "SCX_GAMER_CONFIG_DIR": str(root / "etc"),
    }


def doctor(root: Path) -> dict[str, dict[str, object]]:
    done = subprocess.run(
        [*MAIN, "doctor", "--json"], env=environment(root), capture_output=True, text=True, timeout=180, check=False
    )  # fmt: skip
    body = json.loads(done.stdout)
    assert done.returncode == body["exit"]
    return {finding["check"]: finding for finding in body["findings"]}


def report(root: Path, folder: Path) -> dict[str, str]:
    """The files of an archive made now, by name."""
    archive = folder / "r.tar.gz"
    done = subprocess.run(
        [*MAIN, "report", "--output", archive],
        env=environment(root), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            file = opened.extractfile(member)
            assert file is not None
            files[member.name.removeprefix("scx-gamer-report/")] = file.read().decode()
    return files


def test_the_report_of_a_running_supervisor(tmp_path: Path) -> None:
    with running(["bash", "-c", "exec -a x sleep 600"]) as secret, start_supervisor() as supervised:
        supervised.ask("game_add", pid=secret.pid)
        # the supervisor's own hooks on a game's threads come a moment after the game
        wait_until(
            "the hooks on threads",
            lambda: supervised.status()["detection"]["threads_why"] != NO_GAME,
            60,
        )
        ids = {kind: set(kernel.ids(kind)) for kind in ("prog", "map", "link")}
        files = report(supervised.root, tmp_path)
        now = {kind: kernel.names(kind) for kind in ids}

        def more() -> list[str]:
            found = {kind: set(kernel.ids(kind)) - ids[kind] for kind in ids}
            return [f"{k} {now[k].get(n, n)}" for k, numbers in found.items() for n in numbers]

        try:
            wait_until("what doctor loaded is gone", lambda: not more())
        except AssertionError as err:
            raise AssertionError(f"{err}: {more()}") from err
        assert supervised.state() == "attached"
    status = json.loads(files["status.json"])
    assert status["state"] == "attached"
    assert status["games"][0]["comm"] == "game-1"
    assert json.loads(files["state.json"])["generation"] >= 1
    assert 'scx_gamer_runs_total{class="normal"}' in files["metrics.txt"]
    assert json.loads(files["versions.json"])["kernel"] == os.uname().release
    checks = {f["check"]: f["level"] for f in json.loads(files["doctor.json"])["findings"]}
    assert checks["scheduler"] == checks["supervisor"] == "ok"


@pytest.mark.needs("/proc/sysrq-trigger")
def test_doctor_says_that_it_was_switched_off() -> None:
    with start_supervisor() as supervised:
        Path("/proc/sysrq-trigger").write_text("S")
        supervised.wait_state("off")
        found = doctor(supervised.root)
        assert found["supervisor"]["level"] == "warn"
        assert "scx-gamer start" in str(found["supervisor"]["to_do"])


def test_why_it_ended_is_in_the_report(tmp_path: Path) -> None:
    """The kernel's watchdog ends a scheduler that gives out no tasks; its words are kept."""
    options = SupervisorOptions(mode="always", backoff_s=(300, 300, 300))
    with start_supervisor(options, env=faulty(fault_stall_ms=2000)) as supervised:
        supervised.wait_state("backoff", 120)
        found = report(supervised.root, tmp_path)
    (name,) = (name for name in found if name.startswith("exits/"))
    ended = json.loads(found[name])["exit"]
    assert ended["kind"] >= 1024 and ended["message"], ended
    assert json.loads(found["status.json"])["state"] == "backoff"


def test_doctor_names_another_scheduler_and_goes_77(tmp_path: Path) -> None:
    with foreign_scheduler():
        found = doctor(tmp_path)
        assert found["another scheduler"]["level"] == "fail"
        assert found["another scheduler"]["code"] == 77
        assert "someone_else is loaded" in str(found["another scheduler"]["what"])
        assert "systemctl stop" in str(found["another scheduler"]["to_do"])

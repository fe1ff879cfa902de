# SPDX-License-Identifier: GPL-2.0-only
"""report and doctor beside a real supervisor, after a real end of the scheduler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from scx_gamer.libbpf import kernel
from tests.vm.harness import foreign_scheduler, start_supervisor, wait_until

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


def test_the_report_of_a_running_supervisor(tmp_path: Path) -> None:
    secret = subprocess.Popen(["bash", "-c", "exec -a x sleep 600"])
    try:
        with start_supervisor() as supervised:
            supervised.ask("game_add", pid=secret.pid)
            ids = {kind: set(kernel.ids(kind)) for kind in ("prog", "map", "link")}
            done = subprocess.run(
                [*MAIN, "report", "--output", tmp_path / "r.tar.gz"],
                env=environment(supervised.root), capture_output=True, text=True, timeout=240, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            wait_until(
                "what doctor loaded is gone",
                lambda: all(set(kernel.ids(kind)) <= ids[kind] for kind in ids),
            )
            assert supervised.state() == "attached"
    finally:
        secret.kill()
        secret.wait()
    files = {}
    with tarfile.open(tmp_path / "r.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            files[member.name.removeprefix("scx-gamer-report/")] = file.read().decode()
    status = json.loads(files["status.json"])
    assert status["state"] == "attached"
    assert status["games"][0]["comm"] == "game-1"
    assert json.loads(files["state.json"])["generation"] >= 1
    assert 'scx_gamer_runs_total{class="normal"}' in files["metrics.txt"]
    assert json.loads(files["versions.json"])["kernel"] == os.uname().release
    checks = {f["check"]: f["level"] for f in json.loads(files["doctor.json"])["findings"]}
    assert checks["scheduler"] == checks["supervisor"] == "ok"


@pytest.mark.needs("/proc/sysrq-trigger")
def test_why_it_ended_is_in_the_report(tmp_path: Path) -> None:
    with start_supervisor() as supervised:
        Path("/proc/sysrq-trigger").write_text("S")
        supervised.wait_state("off")
        found = doctor(supervised.root)
        assert found["supervisor"]["level"] == "warn"
        assert "scx-gamer start" in str(found["supervisor"]["to_do"])
        done = subprocess.run(
            [*MAIN, "report", "--output", tmp_path / "r.tar.gz"],
            env=environment(supervised.root), capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads((supervised.root / "state/state.json").read_text())["off"] is True
    with tarfile.open(tmp_path / "r.tar.gz") as archive:
        exits = [name for name in archive.getnames() if "/exits/" in name]
        state = archive.extractfile("scx-gamer-report/state.json")
        assert state is not None
        assert json.loads(state.read())["off"] is True
    assert exits, archive.getnames()


def test_doctor_names_another_scheduler_and_goes_77(tmp_path: Path) -> None:
    with foreign_scheduler():
        found = doctor(tmp_path)
        assert found["another scheduler"]["level"] == "fail"
        assert found["another scheduler"]["code"] == 77
        assert "someone_else is loaded" in str(found["another scheduler"]["what"])
        assert "systemctl stop" in str(found["another scheduler"]["to_do"])

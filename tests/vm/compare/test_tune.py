# SPDX-License-Identifier: GPL-2.0-or-later
"""`tune` on a game that logs its frames: what is kept, and what is in force after each end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.control import ControlError
from scx_gamer.service.active_profile import FAILURES
from scx_gamer.service.comparison import LEASE_S
from scx_gamer.tune.subject import subject_of
from tests.processes import end
from tests.vm.compare.played import command, played
from tests.vm.harness import (
    Supervised,
    faulty,
    kernel_state,
    wait_until,
)
from tests.vm.profiles.test_profiles import in_kernel


def tune(sup: Supervised) -> subprocess.Popen[bytes]:
    """A session with one setting to try, whose effect does not matter."""
    return command(sup, "tune", "--now", "--seconds", "3", "--only", "cpuperf", "--json")


def drop_ins(sup: Supervised) -> list[Path]:
    return list((sup.root / "etc/profiles").glob("*.d/90-tuned.toml"))


def tuned(sup: Supervised, decided: Callable[[], object]) -> dict[str, Any]:
    """The course after a session, which is interrupted once it has decided."""
    process = tune(sup)
    try:
        wait_until("an end", lambda: decided() or process.poll() is not None, 300, 0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        end(process, 30)
    print(f"MEASURED {err.decode()}")
    assert process.returncode in (0, 130), err
    found: dict[str, Any] = json.loads(out)
    return found


def cpuperf() -> int:
    return in_kernel()["cpuperf"]


def course(sup: Supervised, **fields: object) -> None:
    """Write the state of a course whose trial won nine pairs by far: after the tenth it is sure."""
    game = sup.ask("games")[0]
    subject = subject_of(game["main_pid"], game["name"], game["app_id"])
    # So far apart that no stall of less than a second in the tenth pair weighs as much.
    slow, fast = ({"frames": 100, "mean_fps": fps, "low1_fps": fps} for fps in (0.1, 100.0))
    state = {
        "kernel": os.uname().release, "game": subject.version, "rung": 0, "lost": 0,
        "arms": [], "kept": {}, "checks": [], "pairs": [[slow, fast]] * 9, "discarded": [0, 0],
        "began": "2026-01-01", "checked": "", **fields,
    }  # fmt: skip
    whole = {"schema": 1, "games": {subject.key: state}}
    (sup.root / "state/tuning.json").write_text(json.dumps(whole))


@pytest.mark.timeout(900)
def test_a_setting_is_kept_with_its_evidence_and_rolled_back() -> None:
    arm = {"name": "cpuperf", "value": 1, "logs": [], "discarded": [0, 0], "worse": 0}
    with played() as sup:
        course(sup, arms=[arm])
        found = tuned(sup, lambda: drop_ins(sup))
        kept = found["kept"]["cpuperf"]
        assert (kept["value"], kept["before"], kept["pairs"]) == (1, 0, 10)
        wait_until("the kept setting in force", cpuperf, 60, 0.5)
        profile = sup.status()["profile"]["active"]
        assert profile.startswith("tuned-")
        show = command(sup, "profiles", "show", profile)
        shown = show.communicate(timeout=120)[0].decode()
        assert (
            f"in 10 pairs of blocks, 2026-01-01 to {kept['until']}; kernel {os.uname().release}"
            in shown
        )

        course(sup, kept={"cpuperf": kept}, checks=["cpuperf"])
        found = tuned(sup, lambda: not drop_ins(sup))
        assert found["said"][0].startswith("cpuperf = 1 is rolled back to 0, which is better now")
        assert found["kept"] == {}
        wait_until("the setting before", lambda: cpuperf() == 0, 60, 0.5)
        assert not list((sup.root / "etc/profiles").iterdir())
        assert kernel_state() == "enabled"


def test_errors_under_trials_do_not_count_against_the_players_profile() -> None:
    profile = '[match]\nexe = ["workload"]\n[tunables]\nslice_us = 2000\n'
    with played(
        profile=profile, env=faulty(fault_error_ms=25_000), budget=100, backoff_s=(0.5,)
    ) as sup:
        sup.process.send_signal(signal.SIGHUP)  # forgets the errors before the frames came
        for number in range(FAILURES):
            trial = {"id": str(number), "paused": False, "pair": 1, "trial": {"cpuperf": 1}}

            def begun(trial: dict[str, object] = trial) -> Any:
                try:
                    return sup.ask("compare", **trial, begin=True, pid=sup.ask("games")[0]["pid"])
                except ControlError:  # it has just failed, or does not run again yet
                    return None

            answer = wait_until("a trial", begun, 60, 0.5)
            while "failed" not in answer:
                time.sleep(0.5)
                answer = sup.ask("compare", **trial)
            assert answer == {"failed": {"cpuperf": 1}}
            assert cpuperf() == 0
        profiles = sup.status()["profile"]
        assert (profiles["active"], profiles["disabled"]) == ("mine", {})
        assert sup.status()["failures"] >= FAILURES


@pytest.mark.timeout(600)
def test_a_trial_ends_with_its_client() -> None:
    with played() as sup:
        for number in (signal.SIGINT, signal.SIGKILL):
            process = tune(sup)
            try:
                wait_until("a trial", cpuperf, 120, 0.2)
                process.send_signal(number)
                err = process.communicate(timeout=60)[1]
                wait_until("the end", lambda: sup.status()["comparison"] is None, 3 * LEASE_S, 0.2)
            finally:
                end(process, 30)
            assert process.returncode == (130 if number is signal.SIGINT else -number), err
            assert cpuperf() == 0
            assert sup.state() == "attached"
        assert not (sup.root / "etc/profiles").exists()

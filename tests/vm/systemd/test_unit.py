# SPDX-License-Identifier: GPL-2.0-or-later
"""The service as systemd runs it: start, watchdog, reload, stop, crash, and when it is not started again."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from tests.processes import running
from tests.vm.harness import kernel_state, wait_until
from tests.vm.systemd.conftest import UNIT, attached, drop_in, journal, run, show, start, status

CONFIG = Path("/etc/scx-gamer/config.toml")


def pid() -> int:
    return int(show("MainPID")["MainPID"])


def active(state: str = "active") -> bool:
    return show("ActiveState")["ActiveState"] == state


def restarts() -> int:
    return int(show("NRestarts")["NRestarts"])


def test_clean_and_closed() -> None:
    assert run("systemd-analyze", "verify", "--man=no", UNIT) == ""
    text = run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
    assert found, text
    print(f"exposure {found[1]}")
    assert float(found[1]) <= 2.3, text
    assert run("systemctl", "is-enabled", UNIT, check=False).strip() == "disabled"


def test_hanging_supervisor_is_killed_and_the_kernel_schedules() -> None:
    # long enough for one attach on an emulated CPU beside another guest, the longest time without a beat
    drop_in("[Service]\nWatchdogSec=8\nRestartSec=1\n")
    attached()
    hanging, before = pid(), restarts()
    began = time.monotonic()
    os.kill(hanging, signal.SIGSTOP)
    wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 60)
    print(f"the kernel's scheduler {time.monotonic() - began:.1f} s after the stop, watchdog 8 s")
    wait_until("its cause", lambda: "watchdog" in journal().lower(), 60, 0.5)
    wait_until("another supervisor", lambda: pid() not in (0, hanging) and active(), 120)
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
    assert restarts() > before, journal()
    assert status()["unclean_ends"] >= 1


def test_a_crash_leaves_the_kernels_scheduler_and_comes_back() -> None:
    drop_in("[Service]\nRestartSec=1\n")
    attached()
    first, before = pid(), restarts()
    os.kill(first, signal.SIGSEGV)
    wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 30)
    wait_until("another supervisor", lambda: pid() not in (0, first) and active(), 120)
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
    assert restarts() == before + 1


@pytest.fixture
def config() -> Path:
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.unlink(missing_ok=True)
    return CONFIG


def test_reload_takes_what_is_right_and_keeps_the_rest(config: Path) -> None:
    def profile() -> dict[str, Any]:
        found = status()["profile"]
        assert isinstance(found, dict)
        return found

    try:
        attached()
        main, generation = pid(), status()["generation"]
        assert profile()["tunables"]["boost_keyboard_ms"] != 120
        config.write_text("[tunables]\nboost_keyboard_ms = 120\n")
        run("systemctl", "reload", UNIT)  # the daemon also watches the files: the cause tells
        wait_until("a reload", lambda: "read again (SIGHUP)" in journal(), 60, 0.2)
        wait_until("the value", lambda: profile()["tunables"]["boost_keyboard_ms"] == 120, 60, 0.2)
        config.write_text("[tunables]\nboost_keyboard_ms = 1\nnonsense = 1\n")
        failed = profile()["reloads"]["failed"]
        run("systemctl", "reload", UNIT)
        wait_until("a refusal", lambda: profile()["reloads"]["failed"] > failed, 60, 0.2)
        assert profile()["tunables"]["boost_keyboard_ms"] == 120
        assert (pid(), status()["generation"]) == (main, generation)
        assert kernel_state() == "enabled"
        wait_until("the cause", lambda: "nonsense" in journal(), 60, 0.5)
    finally:
        config.unlink(missing_ok=True)


def never_restarted(code: int) -> None:
    """The start fails with this code, and once."""
    run("systemctl", "start", UNIT, check=False)
    wait_until("failed", lambda: active("failed"), 120)
    time.sleep(3)  # RestartSec is 1
    found = show("ExecMainStatus", "NRestarts", "Result")
    wanted = {"ExecMainStatus": str(code), "NRestarts": "0", "Result": "exit-code"}
    assert found == wanted, journal()
    assert kernel_state() == "disabled"


QUICK = "[Service]\nRestartSec=1\n"


def test_not_restarted_with_bad_configuration(config: Path) -> None:
    try:
        config.write_text("slice = 3\n")
        drop_in(QUICK)
        never_restarted(78)
        wait_until("the cause", lambda: "unknown key" in journal(), 60, 0.5)
    finally:
        config.unlink()


def test_not_restarted_with_what_a_restart_cannot_mend() -> None:
    """The codes of the command, one after the other; that it ends with them is tested beside their causes."""
    code_file = Path("/run/scxg-code")
    command = f"/bin/sh -c 'exit $(cat {code_file})'"
    drop_in(f"{QUICK}Type=exec\nExecStart=\nExecStart={command}\n")
    for code in (2, 69, 77):
        code_file.write_text(str(code))
        never_restarted(code)
        run("systemctl", "reset-failed", UNIT)
    code_file.write_text("1")
    run("systemctl", "start", UNIT, check=False)
    wait_until("a restart", lambda: restarts() > 0, 60)
    code_file.unlink()


def test_condition_without_sched_ext_is_no_failure() -> None:
    """Another path stands for a kernel without it: systemd itself looks, so the directory cannot be hidden."""
    drop_in(
        "[Unit]\nConditionPathIsDirectory=\nConditionPathIsDirectory=/sys/kernel/sched_ext_not\n"
    )
    start()
    assert show("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}


def test_a_session_is_recorded_by_the_units_own_user() -> None:
    """The sandbox lets sqlite map and lock its files; the database is nobody else's."""
    drop_in(mode="auto")
    start()
    with running(["sh", "-c", "while :; do sleep 0.01; done"]) as game:
        control.request("game_add", pid=game.pid, timeout_s=60)
        wait_until("a record", lambda: status()["sessions"]["running"] == 1, 90, 0.5)
        assert status()["sessions"]["write_errors"] == 0, journal()
        path = Path("/var/lib/scx-gamer/sessions.db")
        assert (path.owner(), path.stat().st_mode & 0o777) == ("scx-gamer", 0o600)
        os.kill(pid(), signal.SIGKILL)
    run("systemctl", "stop", UNIT)  # root reads the file itself now, and it stays the unit's
    assert ", then the supervisor was killed" in run("scx-gamer", "sessions", "show", "1")
    run("scx-gamer", "sessions", "delete", "--all")
    assert {p.owner() for p in path.parent.glob("sessions.db*")} == {"scx-gamer"}
    path.unlink()

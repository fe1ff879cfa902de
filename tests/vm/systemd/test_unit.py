# SPDX-License-Identifier: GPL-2.0-only
"""The service as systemd runs it: start, watchdog, reload, stop, crash, and no more rights than it needs."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from tests.vm.harness import SCHED_EXT, kernel_state, wait_until
from tests.vm.systemd.conftest import UNIT, attached, drop_in, journal, run, show, start, status

CONFIG = Path("/etc/scx-gamer/config.toml")
CAPABILITIES = {"CAP_PERFMON": 38, "CAP_BPF": 39}


def pid() -> int:
    return int(show("MainPID")["MainPID"])


def active(state: str = "active") -> bool:
    return show("ActiveState")["ActiveState"] == state


def test_clean_and_closed() -> None:
    assert run("systemd-analyze", "verify", "--man=no", UNIT) == ""
    text = run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
    assert found, text
    print(f"exposure {found[1]}")
    assert float(found[1]) <= 5.0, text
    assert run("systemctl", "is-enabled", UNIT, check=False).strip() == "disabled"


def test_starts_as_its_own_user_and_stops() -> None:
    body = attached()
    assert (SCHED_EXT / "root/ops").read_text().strip() == "scx_gamer"
    assert body["state"] == "attached" and set(body["hooks"].values()) == {"ok"}, body
    assert body["input"]["path"] == "kernel", body["input"]
    main = pid()
    lines = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{main}/status").read_text().splitlines()
        if ":\t" in line
    )
    user = pwd.getpwnam("scx-gamer")
    assert lines["Uid"].split() == [str(user.pw_uid)] * 4
    wanted = sum(1 << number for number in CAPABILITIES.values())
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(lines[kind], 16) == wanted, kind
    assert lines["NoNewPrivs"] == "1" and lines["Seccomp"] == "2"
    assert show("StatusText")["StatusText"].startswith("attached: ")
    with urllib.request.urlopen("http://127.0.0.1:9714/metrics", timeout=30) as answer:
        assert b'scx_gamer_state{state="attached"} 1.0' in answer.read()
    assert Path("/run/scx-gamer/status.json").stat().st_mode & 0o777 == 0o644
    began = time.monotonic()
    run("systemctl", "stop", UNIT)
    print(f"stopped in {time.monotonic() - began:.2f} s")
    assert kernel_state() == "disabled" and not Path("/run/scx-gamer").exists()
    assert show("Result", "NRestarts") == {"Result": "success", "NRestarts": "0"}
    assert Path("/var/lib/scx-gamer/state.json").stat().st_uid == user.pw_uid


def test_hanging_supervisor_is_killed_and_the_kernel_schedules() -> None:
    drop_in("[Service]\nWatchdogSec=4\nRestartSec=1\n")
    attached()
    hanging = pid()
    began = time.monotonic()
    os.kill(hanging, signal.SIGSTOP)
    wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 15)
    print(f"the kernel's scheduler {time.monotonic() - began:.1f} s after the stop, watchdog 4 s")
    assert "watchdog" in journal().lower()
    wait_until("another supervisor", lambda: pid() not in (0, hanging) and active(), 60)
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 60)
    assert show("NRestarts")["NRestarts"] == "1" and status()["unclean_ends"] >= 1


def test_killed_supervisor_comes_back() -> None:
    drop_in("[Service]\nRestartSec=1\n")
    attached()
    first = pid()
    os.kill(first, signal.SIGKILL)
    wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 5)
    wait_until("another supervisor", lambda: pid() not in (0, first) and active(), 60)
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 60)
    os.kill(pid(), signal.SIGSEGV)  # a crash
    wait_until("a second restart", lambda: show("NRestarts")["NRestarts"] == "2" and active(), 60)


@pytest.fixture
def config() -> Path:
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.unlink(missing_ok=True)
    return CONFIG


def never_restarted(code: int) -> None:
    """The start fails with this code, and once."""
    run("systemctl", "start", UNIT, check=False)
    wait_until("failed", lambda: active("failed"), 30)
    time.sleep(3)
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
        assert "unknown key" in journal()
    finally:
        config.unlink()


def test_not_restarted_beside_another_one() -> None:
    drop_in(QUICK)
    folder = Path("/run/scx-gamer")
    folder.mkdir(exist_ok=True)
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        never_restarted(77)
    finally:
        os.close(fd)


def test_not_restarted_on_a_kernel_that_cannot() -> None:
    drop_in(f"{QUICK}TemporaryFileSystem=/sys/kernel/sched_ext\n")
    never_restarted(69)


def test_not_restarted_with_bad_usage() -> None:
    drop_in(f"{QUICK}ExecStart=\nExecStart=/usr/bin/scx-gamer run --mode never\n")
    never_restarted(2)


@pytest.mark.parametrize("name", sorted(CAPABILITIES))
def test_each_capability_is_needed(name: str) -> None:
    kept = " ".join(sorted(set(CAPABILITIES) - {name}))
    drop_in(
        f"[Service]\nAmbientCapabilities=\nAmbientCapabilities={kept}\n"
        f"CapabilityBoundingSet=\nCapabilityBoundingSet={kept}\n"
    )
    start_failed = "1" in run("sh", "-c", f"systemctl start {UNIT} || echo 1", check=False)
    assert start_failed or "attached" not in status()["state"], status()
    assert kernel_state() == "disabled"


def test_condition_without_sched_ext_is_no_failure() -> None:
    """Another path stands for a kernel without it: systemd itself looks, so the directory cannot be hidden."""
    drop_in(
        "[Unit]\nConditionPathIsDirectory=\nConditionPathIsDirectory=/sys/kernel/sched_ext_not\n"
    )
    start()
    assert show("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}

# SPDX-License-Identifier: GPL-2.0-only
"""The service as systemd runs it: start, watchdog, reload, stop, crash, and no more rights than it needs."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from tests.vm.harness import SCHED_EXT, kernel_state, wait_until
from tests.vm.systemd.conftest import UNIT, attached, drop_in, journal, run, show, start, status

CONFIG = Path("/etc/scx-gamer/config.toml")
CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
PLAYER = "mail"  # an ordinary user
HOME = Path("/home/scxg-player")


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


@pytest.fixture(scope="module")
def game() -> Iterator[subprocess.Popen[bytes]]:
    """A program of an ordinary user that its entry, in a home closed to others, calls a game."""
    user = pwd.getpwnam(PLAYER)
    program = HOME / "bin/blobfrenzy"
    entries = HOME / ".local/share/applications"
    for folder in (program.parent, entries):
        folder.mkdir(parents=True)
    shutil.copy("/bin/sleep", program)
    (entries / "blob.desktop").write_text(
        f"[Desktop Entry]\nType=Application\nName=Blob Frenzy\nExec={program}\nCategories=Game;\n"
    )
    HOME.chmod(0o700)
    for path in (HOME, *HOME.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    # The name alone tells nothing: argument 0 is another one.
    with subprocess.Popen(
        ["sleep", "3600"], executable=program, user=user.pw_uid, group=user.pw_gid, extra_groups=[]
    ) as process:
        yield process
        process.kill()
    shutil.rmtree(HOME)


@pytest.fixture(scope="module")
def download() -> Iterator[str]:
    """PID of a program in a unit of its own: what holds the game is never limited."""
    unit = "scxg-download.service"
    run("systemd-run", "--quiet", "--collect", f"--unit={unit}", "sleep", "3600")
    yield run("systemctl", "show", unit, "--value", "-pMainPID").strip()
    run("systemctl", "stop", unit)


def lost(pid: int, download: str) -> set[str]:
    """What does not work now: the scheduler, the game of another user, a limit on traffic."""
    run("systemctl", "start", UNIT, check=False)
    ended = ("failed", "inactive")
    wait_until("up or down", lambda: show("ActiveState")["ActiveState"] in ("active", *ended), 60)
    if show("ActiveState")["ActiveState"] != "active":
        return {"scheduler", "game", "limit"}
    body = status()
    found = set()
    if body["state"] == "unsupported" or set(body["hooks"].values()) != {"ok"}:
        found.add("scheduler")
    if not control.request("explain", pid=pid)["game"]:
        found.add("game")
    for kind in ("cgroup", "task"):
        wanted: dict[str, Any] = {
            "target": download, "down": "8 Mbit/s", "up": None, "for": None, "scope": "all", "kind": kind,
        }  # fmt: skip
        try:
            control.request("net_limit", **wanted)
            control.request("net_release", target=None)
        except control.ControlError as err:
            print(f"{kind}: {err}")
            found.add("limit")
    return found


def test_starts_as_its_own_user_loses_nothing_and_stops(
    game: subprocess.Popen[bytes], download: str
) -> None:
    drop_in(mode="auto")
    assert lost(game.pid, download) == set(), journal()
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
    body = status()
    assert body["games"][0]["name"] == "Blob Frenzy"
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
    wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 60)
    print(f"the kernel's scheduler {time.monotonic() - began:.1f} s after the stop, watchdog 4 s")
    assert "watchdog" in journal().lower()
    wait_until("another supervisor", lambda: pid() not in (0, hanging) and active(), 120)
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
    assert show("NRestarts")["NRestarts"] == "1" and status()["unclean_ends"] >= 1


def test_a_crash_leaves_the_kernels_scheduler_and_comes_back() -> None:
    drop_in("[Service]\nRestartSec=1\n")
    attached()
    first = pid()
    os.kill(first, signal.SIGSEGV)
    wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 30)
    wait_until("another supervisor", lambda: pid() not in (0, first) and active(), 120)
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
    assert show("NRestarts")["NRestarts"] == "1"


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
        assert kernel_state() == "enabled" and "nonsense" in journal()
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
        assert "unknown key" in journal()
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
    wait_until("a restart", lambda: int(show("NRestarts")["NRestarts"]) > 0, 60)
    code_file.unlink()


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("CAP_BPF", {"scheduler", "limit"}),
        ("CAP_PERFMON", {"scheduler", "limit"}),
        ("CAP_NET_ADMIN", {"limit"}),
        ("CAP_SYS_PTRACE", {"game"}),
        ("CAP_DAC_READ_SEARCH", {"game"}),
    ],
)
def test_each_capability_is_needed(
    name: str, without: set[str], game: subprocess.Popen[bytes], download: str
) -> None:
    """Without it exactly this does not work, and what does without it goes on."""
    kept = " ".join(sorted(set(CAPABILITIES) - {name}))
    drop_in(
        f"[Service]\nAmbientCapabilities=\nAmbientCapabilities={kept}\n"
        f"CapabilityBoundingSet=\nCapabilityBoundingSet={kept}\n",
        mode="auto",
    )
    assert lost(game.pid, download) == without, journal()


def test_condition_without_sched_ext_is_no_failure() -> None:
    """Another path stands for a kernel without it: systemd itself looks, so the directory cannot be hidden."""
    drop_in(
        "[Unit]\nConditionPathIsDirectory=\nConditionPathIsDirectory=/sys/kernel/sched_ext_not\n"
    )
    start()
    assert show("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}

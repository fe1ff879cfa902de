# SPDX-License-Identifier: GPL-2.0-or-later
"""The unit's own user and its capabilities: nothing is lost by them, and none is more than is needed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from tests.processes import running
from tests.vm.harness import SCHED_EXT, kernel_state, wait_until
from tests.vm.systemd.conftest import UNIT, drop_in, journal, run, show, status

CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
DROP_INS = Path(__file__).parents[3] / "packaging/systemd/drop-ins"
FEATURES = "".join(path.read_text() for path in sorted(DROP_INS.glob("*.conf")))
PLAYER = "mail"  # an ordinary user
HOME = Path("/home/scxg-player")
CONFIG = Path("/etc/scx-gamer/config.toml")


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
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text("[games]\nall_users = true\n")  # no session of the player has a seat here
    for path in (HOME, *HOME.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    # The name alone tells nothing: argument 0 is another one.
    with running(
        ["sleep", "3600"], executable=program, user=user.pw_uid, group=user.pw_gid, extra_groups=[]
    ) as process:
        yield process
    shutil.rmtree(HOME)
    CONFIG.unlink()


@pytest.fixture(scope="module")
def download() -> Iterator[str]:
    """PID of a program in a unit of its own: what holds the game is never limited."""
    unit = "scxg-download.service"
    run("systemd-run", "--quiet", "--collect", f"--unit={unit}", "sleep", "3600")
    yield run("systemctl", "show", unit, "--value", "-pMainPID").strip()
    run("systemctl", "stop", unit)


def lost(pid: int, download: str) -> set[str]:
    """Return the parts that fail now: the scheduler, the game of another user, a limit on traffic."""
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
    assert lost(game.pid, download) == {"game", "limit"}, journal()
    run("systemctl", "stop", UNIT)
    drop_in(FEATURES + "[Service]\nExecStart=\nExecStart=/usr/bin/scx-gamer run --mode auto\n")
    assert lost(game.pid, download) == set(), journal()
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
    body = status()
    assert body["games"][0]["name"] == "Blob Frenzy"
    assert (SCHED_EXT / "root/ops").read_text().strip() == "scx_gamer"
    assert body["state"] == "attached" and set(body["hooks"].values()) == {"ok"}, body
    assert body["input"]["path"] == "kernel", body["input"]
    main = int(show("MainPID")["MainPID"])
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
    with pytest.raises(OSError, match="refused"):  # off by default
        urllib.request.urlopen("http://127.0.0.1:9714/metrics", timeout=30)
    assert Path("/run/scx-gamer/status.json").stat().st_mode & 0o777 == 0o644
    began = time.monotonic()
    run("systemctl", "stop", UNIT)
    print(f"stopped in {time.monotonic() - began:.2f} s")
    assert kernel_state() == "disabled" and not Path("/run/scx-gamer").exists()
    assert show("Result", "NRestarts") == {"Result": "success", "NRestarts": "0"}
    assert Path("/var/lib/scx-gamer/state.json").stat().st_uid == user.pw_uid


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("CAP_BPF", {"scheduler", "game", "limit"}),
        ("CAP_PERFMON", {"scheduler", "game", "limit"}),
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

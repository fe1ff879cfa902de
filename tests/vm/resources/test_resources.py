# SPDX-License-Identifier: GPL-2.0-or-later
"""[resources] under a real systemd: a game beside a memory hog, a busy disk, and the end of a supervisor by SIGKILL.

The game is a program in the slice of a user's session. What it reads, and reads again, is on a disk of null_blk, which
answers with zeroes and takes no memory itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer import control
from tests.vm.harness import wait_until
from tests.vm.installed import PACKAGING
from tests.vm.systemd.conftest import UNIT, drop_in, journal, run, show, start, status

CGROUPS = Path("/sys/fs/cgroup")
CONFIG = Path("/etc/scx-gamer/config.toml")
RULES = "scx-gamer-units.rules"
LEFT = Path("/var/lib/scx-gamer/units.json")
DISKS = Path("/sys/kernel/config/nullb")
SCOPE = "session-77.scope"
GAMES_UNITS = ("user.slice", "user-1000.slice", SCOPE)
LOW_MB, GAME_MB, FREE_MB, HOG_MB = 256, 64, 320, 640
BLOCK = 1 << 20

READ = f"""
import os, sys
disk = os.open(sys.argv[1], os.O_RDONLY)
def read():
    for at in range(0, int(sys.argv[2]) << 20, {BLOCK}):
        os.pread(disk, {BLOCK}, at)
"""
GAME = f"{READ}\nwhile sys.stdin.readline():\n    read()\n    print('read', flush=True)\n"
# A program whose files are larger than what there is of memory, and all of them in use.
HOG = f"""
import mmap, os, sys
size = int(sys.argv[2]) << 20
pages = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), size, mmap.MAP_SHARED, mmap.PROT_READ, offset={GAME_MB} << 20)
for _ in range(3):
    for at in range(0, size, 4096):
        pages[at]
"""
# Reads with a depth for some time, past the page cache; prints how many, and the 99th percentile in s.
READER = """
import mmap, os, sys, threading, time
disk = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
end, took = time.monotonic() + float(sys.argv[2]), []
def work(at):
    page = mmap.mmap(-1, 4096)
    while time.monotonic() < end:
        began = time.monotonic()
        os.preadv(disk, [page], at % (1 << 30))
        took.append(time.monotonic() - began)
        at += 7 * 4096
threads = [threading.Thread(target=work, args=(n << 20,)) for n in range(int(sys.argv[3]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(took), sorted(took)[len(took) * 99 // 100])
"""


@pytest.fixture(scope="module", autouse=True)
def polkit() -> Iterator[None]:
    """The administrator's word that the service may."""
    target = Path("/etc/polkit-1/rules.d") / RULES
    shutil.copy(PACKAGING / "polkit/opt-in" / RULES, target)
    run("systemctl", "restart", "polkit")
    yield
    target.unlink()


@pytest.fixture
def config() -> Iterator[Path]:
    CONFIG.parent.mkdir(exist_ok=True)
    yield CONFIG
    CONFIG.unlink()


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of null_blk, with the attributes that the test names."""
    run("modprobe", "null_blk", "nr_devices=0")
    if not DISKS.exists():
        run("mount", "-t", "configfs", "configfs", "/sys/kernel/config")
    made = DISKS / "scxg"
    made.mkdir()
    try:
        for name, value in {"size": 2048, **request.param}.items():
            (made / name).write_text(str(value))
        (made / "power").write_text("1")
        found = [
            Path("/dev") / name for name in ("scxg", f"nullb{(made / 'index').read_text().strip()}")
        ]
        yield next(path for path in found if path.is_block_device())
    finally:
        made.rmdir()


def meminfo_mb(key: str) -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) >> 10


@pytest.fixture
def scarce() -> Iterator[None]:
    """FREE_MB of memory are left: the rest is set aside as huge pages, which nobody uses."""
    pages = Path("/proc/sys/vm/nr_hugepages")
    Path("/proc/sys/vm/drop_caches").write_text("1")
    pages.write_text(str((meminfo_mb("MemAvailable") - FREE_MB) // meminfo_mb("Hugepagesize")))
    yield
    pages.write_text("0")


def scope(slice_: str, unit: str, program: str, *words: str) -> subprocess.Popen[str]:
    command = [
        "systemd-run",
        "--scope",
        "--quiet",
        "--collect",
        f"--slice={slice_}",
        f"--unit={unit}",
    ]
    return subprocess.Popen(
        [*command, sys.executable, "-c", program, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


class Game:
    """A process in a session's scope that reads GAME_MB each time it is asked to."""

    def __init__(self, disk: Path) -> None:
        self._process = scope("user-1000.slice", SCOPE, GAME, str(disk), str(GAME_MB))
        self.pid = self._process.pid
        self.read()

    def read(self) -> None:
        into, out = self._process.stdin, self._process.stdout
        assert into is not None and out is not None
        into.write("read\n")
        into.flush()
        assert out.readline() == "read\n"

    def refaults(self) -> int:
        """Pages that it read from the disk again, because they had been taken from it."""
        text = (CGROUPS / "/".join(GAMES_UNITS) / "memory.stat").read_text()
        fields = dict(line.split() for line in text.splitlines())
        return int(fields["workingset_refault_file"])

    def end(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)


@pytest.fixture
def game(disk: Path) -> Iterator[Game]:
    made = Game(disk)
    yield made
    made.end()


def low_mb() -> list[int]:
    """memory.low of the units that the game is in, as the kernel has it."""
    paths = ["/".join(GAMES_UNITS[: i + 1]) for i in range(len(GAMES_UNITS))]
    return [int((CGROUPS / path / "memory.low").read_text()) >> 20 for path in paths]


def held() -> set[tuple[str, str]]:
    facts = status().get("resources") or {"held": []}
    return {(row["unit"], row["property"]) for row in facts["held"]}


def play(config: Path, game: Game, text: str) -> None:
    """Start the unit with [resources] and tell it of the game."""
    config.write_text(f"[resources]\n{text}\n")
    drop_in("[Service]\nRestart=no\n", mode="auto")
    start()
    control.request("game_add", pid=game.pid, timeout_s=60)


def refaults_beside_a_hog(game: Game, disk: Path) -> int:
    """Pages that the game reads again after a service has used twice what there is of memory."""
    Path("/proc/sys/vm/drop_caches").write_text("1")
    game.read()
    game.read()
    before = game.refaults()
    hog = scope("system.slice", "scxg-hog.scope", HOG, str(disk), str(HOG_MB))
    _, _ = hog.communicate(timeout=120)
    assert hog.returncode == 0
    game.read()
    return game.refaults() - before


@pytest.mark.parametrize("disk", [{}], indirect=True)
def test_a_hog_takes_no_memory_from_the_game(
    disk: Path, game: Game, config: Path, scarce: None
) -> None:
    play(config, game, f"memory_low_mb = {LOW_MB}")
    wait_until("protection", lambda: low_mb() == [LOW_MB] * 3, 60, 0.5)
    assert held() == {(unit, "MemoryLow") for unit in GAMES_UNITS}
    protected = refaults_beside_a_hog(game, disk)
    assert f"MemoryLow={LOW_MB << 20} of {SCOPE} is held" in run("scx-gamer", "doctor", check=False)
    control.request("game_remove", pid=game.pid, timeout_s=60)
    wait_until("no protection", lambda: low_mb() == [0] * 3 and not LEFT.exists(), 60, 0.5)
    bare = refaults_beside_a_hog(game, disk)
    print(f"refaults of {GAME_MB << 8} pages: {bare}, protected {protected}")
    assert protected * 4 < bare


@pytest.mark.parametrize("disk", [{}], indirect=True)
def test_nothing_is_left_of_a_killed_supervisor(disk: Path, game: Game, config: Path) -> None:
    """In the middle of a game, with nobody who starts another supervisor."""
    play(config, game, f"memory_low_mb = {LOW_MB}\nbackground_io_weight = 20")
    wait_until("protection", lambda: low_mb() == [LOW_MB] * 3, 60, 0.5)
    wait_until("the disk's share", lambda: ("system.slice", "IOWeight") in held(), 60, 0.5)
    assert run("systemctl", "show", "system.slice", "--value", "-pIOWeight").strip() == "20"
    os.kill(int(show("MainPID")["MainPID"]), signal.SIGKILL)
    wait_until("its end", lambda: show("ActiveState")["ActiveState"] == "failed", 60, 0.5)
    assert low_mb() == [0] * 3 and not LEFT.exists(), journal()
    assert run("systemctl", "show", "system.slice", "--value", "-pIOWeight").strip() == "[not set]"
    run("systemctl", "reset-failed", UNIT)

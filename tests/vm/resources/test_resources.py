# SPDX-License-Identifier: GPL-2.0-or-later
"""[resources] under a real systemd: a game beside a memory hog, a busy disk, and the end of a supervisor by SIGKILL.

The game is a program in the slice of a user's session. What it reads, and reads again, is on a disk of null_blk, which
answers with zeroes and takes no memory itself.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from tests.processes import running
from tests.vm.harness import wait_until
from tests.vm.installed import PACKAGING
from tests.vm.systemd.conftest import UNIT, drop_in, journal, run, show, start, status

CGROUPS = Path("/sys/fs/cgroup")
CONFIG = Path("/etc/scx-gamer/config.toml")
RULES = "scx-gamer-units.rules"
LEFT = Path("/var/lib/scx-gamer/units.json")
DISKS = Path("/sys/kernel/config/nullb")
SCOPE = "session-77.scope"
PLAYER = pwd.getpwnam("mail").pw_uid  # an ordinary user
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
HUGE_PAGE_MB = 2  # of x86
PYTHON = "/usr/bin/python3"  # which every user may run
LOW_MB, GAME_MB, FREE_MB = 256, 64, 256
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
    """The administrator's word that the service may; the bus reads its own about the new user."""
    target = Path("/etc/polkit-1/rules.d") / RULES
    shutil.copy(PACKAGING / "polkit/opt-in" / RULES, target)
    run("systemctl", "restart", "polkit")  # and with it the bus
    run("systemctl", "reload", "dbus")
    yield
    target.unlink()


@pytest.fixture
def config() -> Iterator[Path]:
    CONFIG.parent.mkdir(exist_ok=True)
    yield CONFIG
    CONFIG.unlink(missing_ok=True)


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of null_blk, with the attributes that the test names."""
    run("modprobe", "null_blk", "nr_devices=0")
    if not DISKS.exists():
        run("mount", "-t", "configfs", "configfs", "/sys/kernel/config")
    made = DISKS / "scxg"
    made.mkdir()
    try:
        for name, value in {"size": 8192, **request.param}.items():
            (made / name).write_text(str(value))
        (made / "power").write_text("1")
        found = [
            Path("/dev") / name for name in ("scxg", f"nullb{(made / 'index').read_text().strip()}")
        ]
        path = next(path for path in found if path.is_block_device())
        run("udevadm", "settle", check=False)  # it sets the mode too
        path.chmod(0o666)
        yield path
    finally:
        made.rmdir()


def meminfo_mb(key: str) -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) >> 10


@contextmanager
def scarce() -> Iterator[None]:
    """Leave FREE_MB of memory: the rest is set aside as huge pages, which nobody uses."""
    pages = Path("/proc/sys/vm/nr_hugepages")
    DROP_CACHES.write_text("1")
    pages.write_text(str((meminfo_mb("MemAvailable") - FREE_MB) // HUGE_PAGE_MB))
    try:
        yield
    finally:
        pages.write_text("0")


class Place:
    """The slice of a scope, and who starts it: root by the system's systemd, or a user by their own."""

    def __init__(self, above: tuple[str, ...], user: int = 0) -> None:
        self.above, self.user = above, user

    def start(self, unit: str, program: str, *words: str) -> subprocess.Popen[str]:
        manager = ["--user"] if self.user else []
        scope = ["systemd-run", *manager, "--scope", "--quiet", "--collect"]
        return subprocess.Popen(
            [*scope, f"--slice={self.above[-1]}", f"--unit={unit}", PYTHON, "-c", program, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **as_user(self.user),
        )  # fmt: skip

    def low_mb(self, unit: str) -> list[int]:
        """memory.low of a scope and of what is above it, as the kernel has it."""
        path, found = CGROUPS, []
        for part in (*self.above, unit):
            path /= part
            found.append(int((path / "memory.low").read_text()) >> 20)
        return found


def as_user(uid: int) -> dict[str, Any]:
    """Return the arguments of Popen for a program of this user's session; none for root."""
    if not uid:
        return {}
    runtime = f"/run/user/{uid}"
    session = {"XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
    return {
        "user": uid,
        "group": uid,
        "extra_groups": [],
        "env": {**os.environ, **session},
        "cwd": "/",
    }


SERVICES = Place(("system.slice",))
SESSION = Place(("user.slice", "user-1000.slice"))
OWN = Place(("user.slice", f"user-{PLAYER}.slice", f"user@{PLAYER}.service", "app.slice"), PLAYER)


class Game:
    """A process in a scope that reads GAME_MB each time it is asked to."""

    def __init__(self, disk: Path, place: Place, unit: str) -> None:
        self.place, self.unit = place, unit
        self._process = place.start(unit, GAME, str(disk), str(GAME_MB))
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
        path = CGROUPS.joinpath(*self.place.above, self.unit)
        fields = dict(line.split() for line in (path / "memory.stat").read_text().splitlines())
        return int(fields["workingset_refault_file"])

    def low_mb(self) -> list[int]:
        return self.place.low_mb(self.unit)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)


@pytest.fixture
def game(disk: Path) -> Iterator[Game]:
    made = Game(disk, SESSION, SCOPE)
    yield made
    made.end()


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
    """Pages that the game reads again after a service has used more than what there is of memory."""
    with scarce():
        game.read()
        game.read()
        before = game.refaults()
        too_much = meminfo_mb("MemAvailable") * 3 // 2
        hog = SERVICES.start("scxg-hog.scope", HOG, str(disk), str(too_much))
        hog.communicate(timeout=120)
        assert hog.returncode == 0
        game.read()
        return game.refaults() - before


@pytest.mark.parametrize("disk", [{}], indirect=True)
def test_a_hog_takes_no_memory_from_the_game(disk: Path, game: Game, config: Path) -> None:
    play(config, game, f"memory_low_mb = {LOW_MB}")
    wait_until("protection", lambda: game.low_mb() == [LOW_MB] * 3, 60, 0.5)
    assert held() == {(unit, "MemoryLow") for unit in (*SESSION.above, SCOPE)}
    protected = refaults_beside_a_hog(game, disk)
    control.request("game_remove", pid=game.pid, timeout_s=60)
    wait_until("no protection", lambda: game.low_mb() == [0] * 3 and not LEFT.exists(), 60, 0.5)
    bare = refaults_beside_a_hog(game, disk)
    print(f"MEASURED refaults of {GAME_MB << 8} pages: {bare}, protected {protected}")
    assert protected * 4 < bare


@pytest.mark.parametrize("disk", [{}], indirect=True)
def test_nothing_is_left_of_a_killed_supervisor(disk: Path, game: Game, config: Path) -> None:
    """In the middle of a game, with nobody who starts another supervisor."""
    play(config, game, f"memory_low_mb = {LOW_MB}\nbackground_io_weight = 20")
    wait_until("protection", lambda: game.low_mb() == [LOW_MB] * 3, 60, 0.5)
    wait_until("the disk's share", lambda: ("system.slice", "IOWeight") in held(), 60, 0.5)
    assert run("systemctl", "show", "system.slice", "--value", "-pIOWeight").strip() == "20"
    os.kill(int(show("MainPID")["MainPID"]), signal.SIGKILL)
    wait_until("its end", lambda: show("ActiveState")["ActiveState"] == "failed", 60, 0.5)
    assert game.low_mb() == [0] * 3 and not LEFT.exists(), journal()
    assert run("systemctl", "show", "system.slice", "--value", "-pIOWeight").strip() == "[not set]"
    run("systemctl", "reset-failed", UNIT)


@pytest.fixture
def session() -> Iterator[None]:
    """The player's own systemd and bus, without logind, which the guest has not."""
    units = Path("/run/systemd/system")
    runtime = Path(f"/run/user/{PLAYER}")
    runtime.mkdir(parents=True, exist_ok=True)
    os.chown(runtime, PLAYER, PLAYER)
    user = as_user(PLAYER)
    address = user["env"]["DBUS_SESSION_BUS_ADDRESS"]
    settings = {
        f"user-runtime-dir@{PLAYER}.service": "ExecStart=\nExecStart=/bin/true\nExecStop=\n",
        f"user@{PLAYER}.service": "PAMName=\n"
        f"Environment=XDG_RUNTIME_DIR={runtime} DBUS_SESSION_BUS_ADDRESS={address}\n",
    }
    for unit, text in settings.items():
        (units / f"{unit}.d").mkdir(parents=True)
        (units / f"{unit}.d/test.conf").write_text(f"[Service]\n{text}")
    run("systemctl", "daemon-reload")
    with running(["dbus-daemon", "--session", "--nofork", f"--address={address}"], **user) as bus:
        wait_until("the session bus", (runtime / "bus").exists, 30)
        run("systemctl", "start", f"user@{PLAYER}.service")
        yield
        run("systemctl", "stop", f"user@{PLAYER}.service")
        bus.terminate()
        bus.wait(30)
    for unit in settings:
        shutil.rmtree(units / f"{unit}.d")


@pytest.mark.parametrize("disk", [{}], indirect=True)
def test_the_agent_protects_the_game_within_its_session(
    disk: Path, session: None, config: Path
) -> None:
    game = Game(disk, OWN, "app-scxg-1.scope")
    agent = subprocess.Popen(
        ["/usr/bin/scx-gamer", "agent", "--notices", "none"], **as_user(PLAYER)
    )
    try:
        play(config, game, f"memory_low_mb = {LOW_MB}")
        wait_until("protection", lambda: game.low_mb() == [LOW_MB] * 5, 60, 0.5)
        os.kill(int(show("MainPID")["MainPID"]), signal.SIGKILL)
        wait_until("no protection", lambda: game.low_mb() == [0] * 5, 60, 0.5)
        run("systemctl", "reset-failed", UNIT)
    finally:
        agent.terminate()
        agent.wait(30)
        game.end()


def share_of_reads(disk: Path) -> tuple[float, float]:
    """The game's share of the reads of a disk that services keep as busy, and the 99th percentile of its times in s."""
    places = ((SESSION, "session-78.scope"), (SERVICES, "scxg-reader.scope"))
    readers = [place.start(unit, READER, str(disk), "4", "8") for place, unit in places]
    said = [reader.communicate(timeout=60)[0].split() for reader in readers]
    (game, services), p99 = [int(count) for count, _ in said], float(said[0][1])
    return game / (game + services), p99


# One answer takes 2 ms, and four are on their way at a time.
BUSY = {"irqmode": 2, "completion_nsec": 2_000_000, "hw_queue_depth": 4, "submit_queues": 1}


@pytest.mark.parametrize("disk", [BUSY], indirect=True)
def test_services_have_the_rest_of_a_busy_disk(disk: Path, game: Game, config: Path) -> None:
    run("modprobe", "bfq")
    Path(f"/sys/block/{disk.name}/queue/scheduler").write_text("bfq")
    play(config, game, "background_io_weight = 20")
    wait_until("the disk's share", lambda: held() == {("system.slice", "IOWeight")}, 60, 0.5)
    held_back, fast_s = share_of_reads(disk)
    control.request("game_remove", pid=game.pid, timeout_s=60)
    wait_until("the end", lambda: not held() and not LEFT.exists(), 60, 0.5)
    bare, slow_s = share_of_reads(disk)
    print(
        f"MEASURED the game's share of a busy disk: {bare:.2f}, p99 {slow_s * 1e3:.0f} ms;"
        f" with weight 20 beside it {held_back:.2f}, p99 {fast_s * 1e3:.0f} ms"
    )
    assert held_back > bare + 0.1

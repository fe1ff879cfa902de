# SPDX-License-Identifier: GPL-2.0-or-later
"""Cost of detection: a look at every process, the same again, and a child of a game. Prints CPU times.

python -m tests.detection_cost [PROCESSES…]

The processes are files in memory, laid out as `/proc` is, so that any number of them can be had; `ProcFs` reads them
as it reads the kernel's.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from scx_gamer.games import lists
from scx_gamer.games.proc import ProcFs
from scx_gamer.games.tracker import Tracker
from tests.unit.games.trees import game_of

DATA = lists.load(Path(__file__).parents[1] / "profiles/detect.toml")
PIECE_S = 0.003
# What a desktop runs, in the proportions of one: programs of the system, helpers of browsers, shells, kernel threads.
_PROGRAMS = (
    ("/usr/lib/systemd/systemd", ("systemd", "--user")),
    ("/usr/bin/bash", ("bash",)),
    ("/usr/lib/firefox/firefox", ("/usr/lib/firefox/firefox", "-contentproc", "-childID", "7")),
    ("/opt/google/chrome/chrome", ("/opt/google/chrome/chrome", "--type=renderer", "--lang=en")),
    ("/usr/bin/python3.12", ("python3", "/usr/bin/some-applet", "--quiet")),
    ("/usr/libexec/gvfsd", ("gvfsd", "--spawner", ":1.2")),
    ("", ()),
    ("/home/u/tool/run", ("./run", "--port", "1")),
)


def lay_out(root: Path, count: int, deep: int = 0) -> None:
    """`count` processes below `root`, `deep` of them in one chain."""
    for pid in range(1, count + 1):
        exe, argv = _PROGRAMS[pid % len(_PROGRAMS)]
        parent = pid - 1 if pid <= deep or pid % 7 else 1
        add(root, pid, parent if pid > 1 else 0, exe, argv)


def add(root: Path, pid: int, parent: int, exe: str, argv: tuple[str, ...]) -> None:
    folder = root / str(pid)
    (folder / "fd").mkdir(parents=True)
    flags = 0 if exe else 0x00200000  # PF_KTHREAD
    name = (exe or "kworker/0:1").rpartition("/")[2][:15]
    fields = (
        f"{pid} ({name}) S {parent} 1 1 0 -1 {flags} 0 0 0 0 5 3 0 0 20 0 1 0 {pid * 10} "
        + "0 " * 30
    )
    (folder / "stat").write_text(fields)
    (folder / "cmdline").write_bytes("".join(f"{word}\0" for word in argv).encode())
    (folder / "environ").write_bytes(
        b"HOME=/home/u\0" + b"".join(b"V%d=%s\0" % (n, b"x" * 40) for n in range(60))
    )
    (folder / "cgroup").write_text("0::/user.slice/user-1000.slice/session.scope\n")
    if exe:
        os.symlink(exe, folder / "exe")


@contextmanager
def machine(count: int, deep: int = 0) -> Iterator[Tracker]:
    where = "/dev/shm" if os.path.isdir("/dev/shm") else None
    root = Path(tempfile.mkdtemp(prefix="proc-", dir=where))
    try:
        lay_out(root, count, deep)
        yield Tracker(ProcFs(root), DATA)
    finally:
        shutil.rmtree(root)


def look_ms(track: Tracker) -> tuple[float, float]:
    """CPU time of a look, and of the longest piece of one that ends after `PIECE_S`."""
    began = piece = time.process_time()
    longest = 0.0
    for _ in track.look():
        now = time.process_time()
        if now - piece >= PIECE_S:
            longest, piece = max(longest, now - piece), now
    longest = max(longest, time.process_time() - piece)
    last = time.process_time()
    track.commit(1.0)
    longest = max(longest, time.process_time() - last)
    return 1e3 * (time.process_time() - began), 1e3 * longest


def child_us(members: int) -> float:
    """CPU time from the fork of a game's process to the class of its child, and of that child's exec."""
    proc, one = game_of(members)
    track = Tracker(proc, DATA)
    track.reconcile(0.0)
    assert len(track.games[0].members) == members + 1
    rounds = 200
    began = time.process_time()
    for pid in range(100_000, 100_000 + rounds):
        proc.processes[pid] = replace(one, pid=pid, ppid=4, start_ticks=pid)
        track.fork_seen(4, pid, pid)
        track.exec_seen(pid)
        track.update(1.0)
    return 1e6 * (time.process_time() - began) / rounds


def main(counts: list[int]) -> None:
    for count in counts:
        with machine(count) as track:
            first, longest = look_ms(track)
            again, longest_again = look_ms(track)
            print(f"{count:6} processes: first look {first:7.1f} ms (longest piece {longest:.1f}), "
                  f"again {again:6.1f} ms (longest piece {longest_again:.1f})")  # fmt: skip
    with machine(2000, deep=2000) as track:
        print(f"  2000 in one chain: first look {look_ms(track)[0]:7.1f} ms")
    for members in (32, 1000, 10_000):
        print(f"a child of a game of {members:6}: {child_us(members):6.0f} us")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [500, 2000, 10_000])

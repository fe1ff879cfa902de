# SPDX-License-Identifier: GPL-2.0-or-later
"""Readings as a supervisor would give them, and records of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scx_gamer.frames.gpu import GpuWork
from scx_gamer.sessions.database import Database
from scx_gamer.sessions.record import ENDED, Power, Programs, Reading, Session
from scx_gamer.sessions.recorder import Playing

CLASSES = ("normal", "game", "critical", "background", "kthread")
BUCKETS = 32


@dataclass
class Source:
    """The supervisor's counters, which tests raise."""

    time_s: float = 100.0
    attached: bool = True
    profile: str = "auto"
    hist: list[int] = field(default_factory=lambda: [0] * (len(CLASSES) * BUCKETS))
    sums: list[int] = field(default_factory=lambda: [0] * len(CLASSES))
    run_ns: list[int] = field(default_factory=lambda: [0] * len(CLASSES))
    longest_ns: list[int] = field(default_factory=lambda: [0] * len(CLASSES))
    input_hist: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    input_sum_ns: int = 0
    windows: int = 0
    attaches: int = 1
    exits: dict[str, int] = field(default_factory=dict)
    held_back: frozenset[str] = frozenset()
    power: Power | None = None
    programs: Programs | None = None
    gpu: GpuWork | None = None
    frames: dict[str, Any] | None = None  # of every game, as the recorder asks for them

    def figures(self, _key: object) -> dict[str, Any] | None:
        return self.frames

    def lately(self, _key: object) -> dict[str, float]:
        return {"frames": 1180, "missed": 2} if self.frames else {}

    def wait(self, name: str, us: float, count: int = 1) -> None:
        """Count waits as the scheduler does: bucket i holds those below 2^i us."""
        number, bucket = CLASSES.index(name), 0
        while 1 << bucket <= us:
            bucket += 1
        self.hist[number * BUCKETS + bucket] += count
        self.sums[number] += int(us * 1e3) * count
        self.longest_ns[number] = max(self.longest_ns[number], int(us * 1e3))

    def read(self) -> Reading:
        return Reading(
            time_s=self.time_s,
            attached=self.attached,
            profile=self.profile,
            classes=CLASSES,
            counters={
                "wait_hist": list(self.hist),
                "wait_sum_ns": list(self.sums),
                "run_ns": list(self.run_ns),
                "preempt_kicks": [0, 7, 0, 0, 0],
                "input_hist": list(self.input_hist),
                "input_sum_ns": [self.input_sum_ns],
            },
            longest_ns=list(self.longest_ns),
            attaches=self.attaches,
            exits=dict(self.exits),
            windows=self.windows,
            held_back=self.held_back,
            power=self.power,
            programs=self.programs,
            gpu=self.gpu,
        )


FRAMES: dict[str, Any] = {
    "source": "mangohud", "count": 1000, "mean_fps": 118.2, "low_1_fps": 90.5, "low_01_fps": 61.0, "missed": 2,
    "target_ms": 8.33, "longest_ms": 21.5, "histogram": [[8.0, 100], [8.4, 880], [16.0, 18], [22.0, 2]],
}  # fmt: skip


def playing(pid: int = 7, name: str = "Doom", uid: int = 1000, since_s: float = 100.0) -> Playing:
    return Playing((pid, 1), uid, name, "379720", since_s, lambda: None)


def made(
    source: Source, game: str = "Doom", uid: int = 1000, began: int = 1_700_000_000
) -> Session:
    now = source.read()
    return Session(
        uid, game, "379720", began, now.time_s, now, now, profile="auto", frames=source.frames
    )


def record(path: Path, count: int = 1, uid: int = 1000, **more: Any) -> list[int]:
    """Write sessions that ended; return their ids."""
    source = Source()
    sessions = [made(source, uid=uid, **more) for _ in range(count)]
    source.wait("game", 40, 90)
    source.wait("game", 900, 10)
    source.wait("normal", 3000, 10)
    source.time_s += 60
    for session in sessions:
        session.advance(source.read())
    with Database(path, create=True) as db:
        db.write([(session, ENDED, 60.0, None) for session in sessions])
    return [session.id for session in sessions]

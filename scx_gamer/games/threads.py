# SPDX-License-Identifier: GPL-2.0-or-later
"""Roles of a game's threads, as the kernel saw them; by their names only where it saw nothing."""

from __future__ import annotations

import logging
import struct
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from scx_gamer.games.lists import DetectData, matches
from scx_gamer.libbpf import Abi, BpfError, find_object
from scx_gamer.observe.observer import Observer, load_hooks
from scx_gamer.system.procfs import last_cpu_of, thread_names

log = logging.getLogger(__name__)

_KEY = struct.Struct("<II")  # tid, role
_TID = struct.Struct("<I")
_MOST = 256  # threads of one process that are named
_MS = 1e-6  # of a nanosecond
NO_GAME = "no game runs"
# Runs in every wake-up of the machine, before the task that wakes up: 0.6 us of the game's. So it looks when a game
# begins and once in EVERY_S, for as long as the slowest period takes to show, and for longer when somebody asks.
_WAKEUPS = "on_wakeup"
LOOK_S = 1.0
ASKED_S = 4.0
EVERY_S = 60.0

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class SteadyThread:
    """A thread that wakes in step, by the newest look at wake-ups."""

    tid: int
    tgid: int
    start_ns: int  # of CLOCK_BOOTTIME
    period_ns: int
    run_ns: int  # mean time it runs for in each period
    wakes: int  # in each period
    submits: bool


def by_name(name: str, data: DetectData) -> tuple[str, str] | None:
    """Role and reason of a thread of which no fact is known."""
    lists = {
        "input": data.input_threads,
        "periodic": data.periodic_threads,
        "submit": data.submit_threads,
    }
    for role, patterns in lists.items():
        if matches(name.lower(), patterns):
            return role, f"by its name alone, which is listed under {role}_threads"
    return None


class ThreadWatch:
    """Open while a game runs, and looks at wake-ups unless it rests. Raises BpfError if no hook can be had."""

    def __init__(self, observe: Observer) -> None:
        with ExitStack() as stack:
            obj, hooks, self.unavailable = load_hooks(find_object("threads"), shared=observe.maps)
            stack.enter_context(obj)
            self._wakeups = stack.enter_context(ExitStack())
            self._kept: dict[int, list[Row]] = {}
            self._kept_until_ns = 0
            self.resting = False
            self._obj = obj
            for name in sorted(hooks):
                self._attach(name, self._wakeups if name == _WAKEUPS else stack)
            self.hooks = hooks - self.unavailable.keys()
            if not self.hooks:
                raise BpfError("no hook on threads", hint=self.missing)
            self._abi = Abi(obj.btf)
            self._roles, self._steps = obj.maps["roles"], obj.maps["steps"]
            self.names: Mapping[int, str] = self._abi.names("role")
            self._stack = stack.pop_all()

    def _attach(self, name: str, stack: ExitStack) -> None:
        try:
            stack.callback(self._obj.programs[name].attach().close)
        except BpfError as err:
            self.unavailable[name] = err.with_reason()
        else:
            self.unavailable.pop(name, None)

    @property
    def missing(self) -> str:
        """Hooks that are not there, and why; empty when all are."""
        return "; ".join(f"{name}: {why}" for name, why in self.unavailable.items())

    def rest(self, now_ns: int) -> None:
        """Look at no wake-ups for now; the roles they gave are kept as they were last."""
        self._kept = {}
        self._kept = {
            tid: [
                row | {"until_s": None} for row in self.of(tid, now_ns) if row["role"] != "submit"
            ]
            for tid in self._tids()
        }
        self._wakeups.close()
        self.resting = True

    def resume(self, now_ns: int) -> None:
        """Look at wake-ups again. What was kept stays until they had the time to show it."""
        if _WAKEUPS in self.hooks:
            self._attach(_WAKEUPS, self._wakeups)
        self.resting = False
        self._kept_until_ns = now_ns + int(LOOK_S * 1e9)

    @staticmethod
    def _why(role: str, thread: Mapping[str, int | str]) -> str:
        facts = thread["facts"]
        if role == "input":
            return f"woken {facts} times by thread {thread['waker']}, which passed on input"
        if role == "periodic":
            period, run = int(thread["period_ns"]) * _MS, int(thread["run_ns"]) * _MS
            return f"woke {facts} times in step, every {period:.2f} ms, for {run:.2f} ms each"
        return f"{facts} calls to the GPU's driver"

    def of(self, tid: int, now_ns: int) -> list[Row]:
        """The roles that a thread has now, and those it had when wake-ups were last looked at: they have no end."""
        found: list[Row] = []
        for number, name in self.names.items():
            raw = self._roles.lookup(_KEY.pack(tid, number))
            thread = self._abi.unpack("scxg_thread", raw) if raw is not None else {"until_ns": 0}
            until = int(thread["until_ns"])
            if until > now_ns:
                found.append(
                    {
                        "role": name,
                        "why": self._why(name, thread),
                        "since_s": round((now_ns - int(thread["since_ns"])) / 1e9, 3),
                        "until_s": round((until - now_ns) / 1e9, 3),
                    }
                )
        if not self.resting and now_ns > self._kept_until_ns:
            return found
        current = {row["role"] for row in found}
        return found + [row for row in self._kept.get(tid, ()) if row["role"] not in current]

    def _tids(self) -> set[int]:
        return {_KEY.unpack(key)[0] for key in list(self._roles.keys())}

    def submitters(self, now_ns: int) -> set[int]:
        """Pids of processes with a thread that has called the GPU's driver lately."""
        found: set[int] = set()
        for key in set(self._roles.keys()):
            if self.names.get(_KEY.unpack(key)[1]) == "submit" and (raw := self._roles.lookup(key)):
                thread = self._abi.unpack("scxg_thread", raw)
                if int(thread["until_ns"]) > now_ns:
                    found.add(int(thread["tgid"]))
        return found

    def steady(self, now_ns: int) -> list[SteadyThread]:
        """Return the threads that wake in step, by the looks of the last minute or so."""
        oldest_ns = now_ns - int((EVERY_S + ASKED_S) * 1e9)
        found: list[SteadyThread] = []
        for key in set(self._steps.keys()):
            raw, (tid,) = self._steps.lookup(key), _TID.unpack(key)
            step = self._abi.unpack("scxg_step", raw) if raw is not None else {"seen_ns": 0}
            if int(step["seen_ns"]) > oldest_ns:
                found.append(
                    SteadyThread(
                        tid, int(step["tgid"]), int(step["start_ns"]), int(step["period_ns"]),
                        int(step["run_ns"]), int(step["wakes"]), self._submits(tid, int(step["start_ns"]), now_ns),
                    )
                )  # fmt: skip
        return found

    def _submits(self, tid: int, start_ns: int, now_ns: int) -> bool:
        submit = next(number for number, name in self.names.items() if name == "submit")
        raw = self._roles.lookup(_KEY.pack(tid, submit))
        if raw is None:
            return False
        thread = self._abi.unpack("scxg_thread", raw)
        return thread["start_ns"] == start_ns and int(thread["until_ns"]) > now_ns

    def count(self, now_ns: int) -> Counter[str]:
        """Threads by the roles they have now."""
        found: Counter[str] = Counter(dict.fromkeys(self.names.values(), 0))
        for tid in self._tids() | self._kept.keys():
            found.update(str(row["role"]) for row in self.of(tid, now_ns))
        return found

    def close(self) -> None:
        self._stack.close()


class ThreadRoleMonitor:
    """A ThreadWatch while a game runs, and why there is none. Times are of CLOCK_MONOTONIC, in seconds."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self.watch: ThreadWatch | None = None
        self._why = NO_GAME
        self._roles: dict[str, int] = {}
        self._rest_at = self._look_at = 0.0

    def open(self) -> None:
        """Optional: without it everything else goes on."""
        if self.watch is not None:
            return
        try:
            self.watch = ThreadWatch(self._observe)
        except BpfError as err:
            self._why = str(err)
            log.warning("roles of threads are unknown: %s", err)
            return
        self._look(self.watch, LOOK_S)

    def _look(self, watch: ThreadWatch, seconds: float) -> None:
        """From now on for so long."""
        if watch.resting:
            watch.resume(time.monotonic_ns())
        now_s = time.monotonic()
        self._rest_at, self._look_at = now_s + seconds, now_s + EVERY_S
        self._why = watch.missing

    def asked(self) -> bool:
        """Somebody wants to know: look from now on for a while. Whether what they get is of an earlier look."""
        watch = self.watch
        if watch is None:
            return False
        was_resting = watch.resting
        self._look(watch, ASKED_S)
        return was_resting

    def tick(self) -> None:
        """Once a second or so: begin and end a look; count the roles, for those who ask from another thread."""
        watch, now_s = self.watch, time.monotonic()
        if watch is None:
            return
        if watch.resting and now_s >= self._look_at:
            self._look(watch, LOOK_S)
        elif not watch.resting and now_s >= self._rest_at:
            watch.rest(time.monotonic_ns())
        self._roles = dict(watch.count(time.monotonic_ns()))

    def submitters(self) -> set[int]:
        """As a watch says; none while there is none."""
        return self.watch.submitters(time.monotonic_ns()) if self.watch is not None else set()

    def steady(self) -> list[SteadyThread]:
        """As a watch says; none while there is none."""
        return self.watch.steady(time.monotonic_ns()) if self.watch is not None else []

    def status(self) -> dict[str, object]:
        """Their part of `detection` in `status --json`."""
        return {
            "threads": "ok" if self.watch is not None else "off",
            "threads_why": self._why,
            "threads_resting": self.watch is not None and self.watch.resting,
            "thread_roles": dict(self._roles),
        }

    def close(self) -> None:
        """Until the next game."""
        watch, self.watch = self.watch, None
        self._why, self._roles = NO_GAME, {}
        if watch is not None:
            watch.close()


def rows(
    pid: int,
    class_name: str,
    boost: str,
    data: DetectData,
    watch: ThreadWatch | None,
    now_ns: int,
) -> list[Row]:
    """One row a thread and role, for `games explain`."""
    found: list[Row] = []
    for tid, name in thread_names(pid, _MOST).items():
        cpu = last_cpu_of(pid, tid)
        head: Row = {"tid": tid, "name": name, "cpu": cpu, "class": class_name, "boost": boost}
        roles = watch.of(tid, now_ns) if watch is not None else []
        if not roles:
            named = by_name(name, data)
            role, why = named or (None, "nothing it did lately shows a role")
            roles = [{"role": role, "why": why, "since_s": None, "until_s": None}]
        found += [head | role for role in roles]
    return found

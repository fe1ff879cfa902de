# SPDX-License-Identifier: GPL-2.0-only
"""What the supervisor says of itself: `status`, and the snapshot that the metrics show. Reads only."""

from __future__ import annotations

import os
import platform
import time

from scx_gamer import __version__
from scx_gamer.observe.observer import Observe
from scx_gamer.scheduler import counters, sysfs
from scx_gamer.scheduler.attached import program_costs
from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.scheduler.lives import CountedLife, Lives
from scx_gamer.scheduler.machine import Life, Machine
from scx_gamer.scheduler.store import StateStore
from scx_gamer.service.services import Rooms
from scx_gamer.system.loop import Loop

SCHEMA = 1


def unsupported(reason: str) -> dict[str, object]:
    """The status of a kernel on which nothing runs."""
    return {"schema": SCHEMA, "version": __version__, "state": "unsupported", "cause": reason}


class Status:
    """`mode` is the configured one, which a profile may change."""

    def __init__(
        self, rooms: Rooms, lives: Lives, store: StateStore, loop: Loop, mode: str
    ) -> None:
        self._rooms, self._lives, self._store = rooms, lives, store
        self._loop, self._mode = loop, mode
        self._began_ns = time.monotonic_ns()

    def status(self) -> dict[str, object]:
        """The stable schema of `status --json`; a field may be added, none changes its meaning."""
        rooms = self._rooms
        body: dict[str, object] = {
            "schema": SCHEMA,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round((time.monotonic_ns() - self._began_ns) / 1e9, 3),
            "mode": rooms.tuning.mode if rooms.tuning else self._mode,
            "generation": self._store.state.generation,
            "kernel": {
                "release": platform.release(),
                "sched_ext": sysfs.state(),
                "loaded": sysfs.loaded(),
            },
            "unclean_ends": self._store.state.unclean_ends,
            "state_write_errors": self._store.write_errors,
            "sleeps": rooms.sleeps,
            "games": rooms.listing(),
        }
        if rooms.machine is not None:
            body |= self._machine(rooms.machine)
        if rooms.observe is not None:
            observe = rooms.observe
            body["hooks"] = dict.fromkeys(sorted(observe.hooks), "ok") | observe.unavailable
            body["feed"] = observe.feed.counters()
            body["profile"] = self.profile()
        body["input"] = self._input()
        if rooms.bus is not None:
            body["bus"] = rooms.bus.counters()
        if rooms.hints is not None:
            body["session_hints"] = dict(rooms.hints.results)
        if rooms.games is not None:
            body["detection"] = rooms.games.status()
        if rooms.network is not None:
            body["network"] = rooms.network.status()
        loop = self._loop.stats()
        body["loop"] = {
            "passes": loop.passes,
            "lag_last_ms": loop.lag_last_ns / 1e6,
            "lag_max_ms": loop.lag_max_ns / 1e6,
            "pass_max_ms": loop.pass_max_ns / 1e6,
        }
        return body

    def profile(self) -> dict[str, object]:
        """The active profile, and the tunables as the kernel has them, not as they were sent."""
        tuning, observe = self._rooms.tuning, self._rooms.observe
        if tuning is None or observe is None:
            return {}
        values = observe.tunables.array("value")
        names = observe.abi.names("tun")
        body = tuning.status()
        body["tunables"] = {n: values[i] for i, n in names.items() if i < len(values)}
        body["watch"] = self._rooms.watch
        return body

    def devices(self) -> list[dict[str, object]]:
        """What the input room watches, and at which rate; empty while input is off."""
        if self._rooms.input is None:
            return []
        return [
            {"number": info.number, "path": info.path, "rate_hz": info.rate_hz}
            for info in self._rooms.input.devices()
        ]

    def _machine(self, machine: Machine) -> dict[str, object]:
        retry = machine.retry_in_s()
        return {
            "state": str(machine.state),
            "cause": machine.cause,
            "since_s": round((time.monotonic_ns() - machine.since_ns) / 1e9, 3),
            "retry_in_s": None if retry is None else round(retry, 1),
            "failures": machine.recent_failures(),
            "last_exit": _exit(machine.last_exit),
            "scheduler": self._scheduler(machine.life),
        }

    def _scheduler(self, life: Life | None) -> dict[str, object] | None:
        observe = self._rooms.observe
        if not isinstance(life, CountedLife) or observe is None:
            return None
        view = life.inner.state
        names = observe.abi.names("class")
        fields = ("ticks", "timer_failed", "effects", "effects_off", "nr_queued")
        waits = ("oldest_wait_ns", "oldest_wait_max_ns")
        return {
            "generation": life.generation,
            **{name: view.get(name) for name in (*fields, *waits)},
            "tasks": {names.get(i, str(i)): count for i, count in enumerate(view.array("tasks"))},
        }

    def effects(self) -> int | None:
        """Whether classes and windows take effect now; None without a scheduler."""
        life = self._rooms.machine.life if self._rooms.machine is not None else None
        return life.inner.state.get("effects") if isinstance(life, CountedLife) else None

    def _input(self) -> dict[str, object]:
        room = self._rooms.input
        if room is None:
            return {"path": "none", "devices": 0, "why": self._rooms.input_error}
        return {
            "path": room.path,
            "devices": room.present,
            "lanes": room.lanes(),
            "held": len(room.held()),
            "why": "",
        }

    def snapshot(self) -> dict[str, object]:
        """Everything the metrics show. It only reads: input interrupts it."""
        from scx_gamer import metrics

        rooms, body = self._rooms, self.status()
        if rooms.machine is not None:
            attempts = rooms.machine.counters()
            body["counters"] = {
                "attaches": attempts.attaches,
                "exits": attempts.exits,
                "restarts": attempts.restarts,
            }
            body["cpu_stats"], costs = self._lives.counters(rooms.machine.life)
            if rooms.observe is not None:
                counters.merge(costs, program_costs(rooms.observe.object))
            body["programs"] = costs
        if rooms.observe is not None:
            body |= _observed(rooms.observe)
        if rooms.input is not None:
            body["input_counters"] = dict(rooms.input.counters)
        if rooms.network is not None:
            body["network_counters"] = rooms.network.counters()
        body["process"] = metrics.process()
        body["kernel_events"] = sysfs.events()
        body["enable_seq"] = sysfs.counter("enable_seq")
        body["nr_rejected"] = sysfs.counter("nr_rejected")
        return body


def _exit(record: ExitRecord | None) -> dict[str, object] | None:
    if record is None:
        return None
    names = ("kind", "name", "code", "generation", "reason", "message")
    return {name: getattr(record, name) for name in names}


def _observed(observe: Observe) -> dict[str, object]:
    btf = observe.object.btf
    lane = counters.fields_of(btf, "scxg_lane_state")
    return {
        "control": counters.read(observe.control, counters.fields_of(btf, "scxg_control")),
        "windows": {
            name: {field: list(observe.windows.array(f"lane[{i}].{field}")) for field in lane}
            for i, name in observe.abi.names("lane").items()
            if i != 0
        },
        "events": {
            "by_type": dict(observe.events),
            "stale": observe.events_stale,
            "unknown": observe.events_unknown,
            "handler_failures": observe.ring.failures,
        },
    }

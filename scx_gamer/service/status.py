# SPDX-License-Identifier: GPL-2.0-only
"""The supervisor's status, and the snapshot that the metrics show. Reads only."""

from __future__ import annotations

import os
import platform
import time

from scx_gamer import __version__
from scx_gamer.observe.observer import Observe
from scx_gamer.scheduler import counters, sysfs
from scx_gamer.scheduler.attached import program_costs
from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.scheduler.machine import Machine
from scx_gamer.service.services import Services
from scx_gamer.system.loop import Loop

SCHEMA = 1


def unsupported(reason: str) -> dict[str, object]:
    """Return the status on a kernel that cannot run the scheduler."""
    return {"schema": SCHEMA, "version": __version__, "state": "unsupported", "cause": reason}


class Status:
    """Answers about the supervisor, read from its subsystems."""

    def __init__(self, services: Services, loop: Loop, began_ns: int) -> None:
        self._services, self._loop, self._began_ns = services, loop, began_ns

    def status(self) -> dict[str, object]:
        """The stable schema of `status --json`; a field may be added, none changes its meaning."""
        services, store = self._services, self._services.store
        observe, loop = services.observe, self._loop.stats()
        body: dict[str, object] = {
            "schema": SCHEMA,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round((time.monotonic_ns() - self._began_ns) / 1e9, 3),
            "mode": services.profile.mode,
            "generation": store.state.generation,
            "kernel": {
                "release": platform.release(),
                "sched_ext": sysfs.state(),
                "loaded": sysfs.loaded(),
            },
            "unclean_ends": store.state.unclean_ends,
            "state_write_errors": store.write_errors,
            "sleeps": services.heartbeat.sleeps,
            "games": services.games.listing(),
            **self._machine(services.machine),
            "hooks": dict.fromkeys(sorted(observe.hooks), "ok") | observe.unavailable,
            "feed": observe.feed.counters(),
            "profile": self.profile(),
            "input": self._input(),
            "session_hints": dict(services.hints.results),
            "detection": services.games.status(),
            "network": services.network.status(),
            "loop": {
                "passes": loop.passes,
                "lag_last_ms": loop.lag_last_ns / 1e6,
                "lag_max_ms": loop.lag_max_ns / 1e6,
                "pass_max_ms": loop.pass_max_ns / 1e6,
            },
        }
        if services.bus is not None:
            body["bus"] = services.bus.counters()
        return body

    def profile(self) -> dict[str, object]:
        """Return the active profile, and the tunables as the kernel has them, not as they were sent."""
        observe = self._services.observe
        values = observe.tunables.array("value")
        names = observe.abi.names("tun")
        body = self._services.profile.status()
        body["tunables"] = {n: values[i] for i, n in names.items() if i < len(values)}
        body["watch"] = self._services.watch
        return body

    def devices(self) -> list[dict[str, object]]:
        """Return the input devices and their rates; empty while input is off."""
        monitor = self._services.input
        return [
            {"number": info.number, "path": info.path, "rate_hz": info.rate_hz}
            for info in (monitor.devices() if monitor is not None else ())
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
            "scheduler": self._scheduler(),
        }

    def _scheduler(self) -> dict[str, object] | None:
        attached = self._services.generations.attached
        if attached is None:
            return None
        view, names = attached.state, self._services.observe.abi.names("class")
        fields = ("ticks", "timer_failed", "effects", "effects_off", "nr_queued")
        waits = ("oldest_wait_ns", "oldest_wait_max_ns")
        return {
            "generation": attached.generation,
            **{name: view.get(name) for name in (*fields, *waits)},
            "tasks": {names.get(i, str(i)): count for i, count in enumerate(view.array("tasks"))},
        }

    def effects(self) -> int | None:
        """Return whether classes and windows take effect now; None without a scheduler."""
        attached = self._services.generations.attached
        return attached.state.get("effects") if attached is not None else None

    def _input(self) -> dict[str, object]:
        monitor = self._services.input
        if monitor is None:
            return {"path": "none", "devices": 0, "why": self._services.input_error}
        return {
            "path": monitor.path,
            "devices": monitor.present,
            "lanes": monitor.lanes(),
            "held": len(monitor.held()),
            "why": "",
        }

    def snapshot(self) -> dict[str, object]:
        """Return everything that the metrics show; input may interrupt it, because it only reads."""
        from scx_gamer import metrics

        services, body = self._services, self.status()
        attempts = services.machine.counters()
        body["counters"] = {
            "attaches": attempts.attaches,
            "exits": attempts.exits,
            "restarts": attempts.restarts,
        }
        body["cpu_stats"], costs = services.generations.counters()
        counters.merge(costs, program_costs(services.observe.object))
        body["programs"] = costs
        body |= _observed(services.observe)
        if services.input is not None:
            body["input_counters"] = dict(services.input.counters)
        body["network_counters"] = services.network.counters()
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

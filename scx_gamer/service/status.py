# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's status, and the snapshot that the metrics show. Reads only."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, cast

from scx_gamer import __version__
from scx_gamer.observe.observer import Observer
from scx_gamer.scheduler import counters, sysfs
from scx_gamer.scheduler.attached import program_costs
from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.scheduler.topology import Home, format_list
from scx_gamer.service.maxima import TAKEN, RecentMaxima
from scx_gamer.service.services import Services
from scx_gamer.system.loop import Loop

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import (
        BusFacts,
        DetectionFacts,
        FeedFacts,
        GameFacts,
        InputFacts,
        LastExit,
        NetworkCounters,
        NetworkFacts,
        PlacementFacts,
        PowerFacts,
        ProfileFacts,
        SchedulerFacts,
        SnapshotBody,
        StatusBody,
    )

SCHEMA = 1


def unsupported(reason: str) -> StatusBody:
    """Return the status on a kernel that cannot run the scheduler."""
    return {"schema": SCHEMA, "version": __version__, "state": "unsupported", "cause": reason}


class Status:
    """Answers about the supervisor, read from its subsystems."""

    def __init__(self, services: Services, loop: Loop, began_ns: int) -> None:
        self._services, self._loop, self._began_ns = services, loop, began_ns
        self.maxima = RecentMaxima(services, loop)

    def status(self) -> StatusBody:
        """The stable schema of `status --json`; a field may be added, none changes its meaning."""
        services, store = self._services, self._services.store
        machine, observe, loop = services.machine, services.observe, self._loop.stats()
        retry_s = machine.retry_in_s()
        body: StatusBody = {
            "schema": SCHEMA,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round((time.monotonic_ns() - self._began_ns) / 1e9, 3),
            "mode": services.profile.mode,
            "generation": store.state.generation,
            "state": str(machine.state),
            "cause": machine.cause,
            "since_s": round((time.monotonic_ns() - machine.since_ns) / 1e9, 3),
            "retry_in_s": None if retry_s is None else round(retry_s, 1),
            "failures": machine.recent_failures(),
            "last_exit": exit_facts(machine.last_exit),
            "scheduler": self._scheduler(),
            "kernel": {
                "release": os.uname().release,
                "sched_ext": sysfs.state(),
                "loaded": sysfs.loaded(),
            },
            "unclean_ends": store.state.unclean_ends,
            "state_write_errors": store.write_errors,
            "sleeps": services.heartbeat.sleeps,
            "games": cast("list[GameFacts]", services.games.listing()),
            "hooks": dict.fromkeys(sorted(observe.hooks), "ok") | observe.unavailable,
            "feed": cast("FeedFacts", observe.feed.counters()),
            "profile": self.profile(),
            "input": self._input(),
            "comparison": services.comparison.facts(),
            "session_hints": dict(services.hints.results),
            "detection": cast(
                "DetectionFacts", services.games.status() | {"focus_why": services.hints.focus_why}
            ),
            "network": cast("NetworkFacts", services.network.status()),
            "placement": self.placement(),
            "sessions": services.sessions.status(),
            "loop": {
                "passes": loop.passes,
                "lag_last_ms": loop.lag_last_ns / 1e6,
                "lag_max_ms": loop.lag_max_ns / 1e6,
                "pass_max_ms": loop.pass_max_ns / 1e6,
            },
        }
        frames = services.frames.status()
        if frames is not None:
            body["frames"] = frames
        if services.bus is not None:
            body["bus"] = cast("BusFacts", services.bus.counters())
            body["power"] = cast("PowerFacts", services.bus.power())
            if (held := services.bus.resources()) is not None:
                body["resources"] = held
        return body

    def profile(self) -> ProfileFacts:
        """Return the active profile, and the tunables as the kernel has them, not as they were sent."""
        observe = self._services.observe
        values = observe.tunables.array("value")
        names = observe.abi.names("tun")
        active = self._services.profile
        return {
            "active": active.name,
            "chosen": active.chosen,
            "why": active.why,
            "settings": dict(active.active.settings) if active.active else {},
            "errors": [str(error) for error in active.errors()],
            "disabled": dict(active.disabled),
            "changes": active.changes,
            "reloads": dict(active.reloads),
            "tunables": {n: values[i] for i, n in names.items() if i < len(values)},
            "watch": self._services.watch,
        }

    def devices(self) -> list[dict[str, object]]:
        """Return the input devices and their rates; empty while input is off."""
        monitor = self._services.input
        return [
            {
                "number": info.number,
                "path": info.path,
                "rate_hz": info.rate_hz,
                "grabbed": info.grabbed,
            }
            for info in (monitor.devices() if monitor is not None else ())
        ]

    def placement(self) -> PlacementFacts:
        """Return where the game's threads ran, and why there."""
        generations = self._services.generations
        stats, _ = generations.counters()

        def total(name: str) -> int:
            return stats.get(name, [0])[0]

        home = generations.attached.home if generations.attached else Home((), "not attached")
        return {
            "home": format_list(home.cpus),
            "why": home.why,
            "home_s": round(total("game_home_ns") / 1e9, 3),
            "away_s": round(total("game_away_ns") / 1e9, 3),
            "moves": total("home_moves"),
            "shield_s": round(total("shield_ns") / 1e9, 3),
            "shield_kicks": total("shield_kicks"),
        }

    def _scheduler(self) -> SchedulerFacts | None:
        attached = self._services.generations.attached
        if attached is None:
            return None
        view, names = attached.state, self._services.observe.abi.names("class")
        return {
            "generation": attached.generation,
            "ticks": view.get("ticks"),
            "timer_failed": view.get("timer_failed"),
            "effects": view.get("effects"),
            "effects_off": view.get("effects_off"),
            "nr_queued": view.get("nr_queued"),
            "oldest_wait_ns": view.get("oldest_wait_ns"),
            "oldest_wait_max_ns": view.get("oldest_wait_max_ns"),
            "tasks": {names.get(i, str(i)): count for i, count in enumerate(view.array("tasks"))},
        }

    def boosts_enabled(self) -> int | None:
        """Return whether classes and windows take effect now; None without a scheduler."""
        attached = self._services.generations.attached
        return attached.state.get("effects") if attached is not None else None

    def _input(self) -> InputFacts:
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

    def snapshot(self) -> SnapshotBody:
        """Return everything that the metrics show; input may interrupt it, because it only reads."""
        from scx_gamer import metrics

        services, attempts = self._services, self._services.machine.counters()
        stats, costs = services.generations.counters()
        counters.merge(costs, program_costs(services.observe.object))
        body: SnapshotBody = {
            **self.status(),
            "counters": {
                "attaches": attempts.attaches,
                "exits": attempts.exits,
                "restarts": attempts.restarts,
            },
            "cpu_stats": stats,
            "recent_maxima": self.maxima.values(),
            "programs": costs,
            **_observed(services.observe),
            "network_counters": cast("NetworkCounters", services.network.counters()),
            "process": metrics.process(),
            "kernel_events": sysfs.events(),
            "enable_seq": sysfs.counter("enable_seq"),
            "nr_rejected": sysfs.counter("nr_rejected"),
        }
        buckets = services.frames.buckets()
        if buckets is not None:
            body["frame_buckets"] = buckets
        if services.input is not None:
            body["input_counters"] = dict(services.input.counters)
        return body


def exit_facts(record: ExitRecord | None) -> LastExit | None:
    """Return an exit as the status shows it, without its dump."""
    if record is None:
        return None
    return {
        "kind": record.kind,
        "name": record.name,
        "code": record.code,
        "generation": record.generation,
        "reason": record.reason,
        "message": record.message,
    }


def _observed(observe: Observer) -> SnapshotBody:
    btf = observe.object.btf
    lane = counters.fields_of(btf, "scxg_lane_state")
    fields = tuple(name for name in counters.fields_of(btf, "scxg_control") if name not in TAKEN)
    return {
        "control": counters.read(observe.control, fields),
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

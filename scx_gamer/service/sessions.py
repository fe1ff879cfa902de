# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions of games: the recorder's handle, its readings, and the operations on its records.

The package `sessions`, and with it sqlite3, is imported when a game runs or a user asks: a supervisor at rest has none
of it in memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scx_gamer.control import ControlError
from scx_gamer.system.exit_codes import FAILED, USAGE
from scx_gamer.system.loop import NO_TIMER

if TYPE_CHECKING:
    from pathlib import Path

    from scx_gamer.config.options import SupervisorOptions
    from scx_gamer.control.snapshot import SessionFacts
    from scx_gamer.frames.interference import Interference
    from scx_gamer.frames.model import Frame
    from scx_gamer.frames.stats import FrameStats
    from scx_gamer.games.model import Game
    from scx_gamer.service.services import Services
    from scx_gamer.sessions.record import Power, Programs, Reading
    from scx_gamer.sessions.recorder import Key, Recorder
    from scx_gamer.system.loop import Loop

log = logging.getLogger(__name__)

_MAX_ID = (1 << 63) - 1
_CHARGE_AFTER_S = 1.0  # the hooks are loaded when the start of the game is over


class SessionFrames:
    """Frames of each game, by source: a monitor tells of the active game alone, and begins anew with another one."""

    def __init__(self, active: Callable[[], Key | None]) -> None:
        self._active = active
        self._counts: dict[Key, dict[str, FrameStats]] = {}
        self._lately: dict[Key, tuple[str, FrameStats]] = {}  # since the last sample

    def add(self, source: str, frames: list[Frame]) -> None:
        """Count the frames of a read for the game that is active."""
        from scx_gamer.frames.stats import FrameStats

        key = self._active()
        if key is None or not frames:
            return
        seen = FrameStats()
        seen.add(frames)
        self._counts.setdefault(key, {}).setdefault(source, FrameStats()).merge(seen)
        name, stats = self._lately.setdefault(key, (source, FrameStats()))
        if name == source:  # two sources do not add up
            stats.merge(seen)

    def figures(self, key: Key) -> dict[str, Any] | None:
        """Return `frames` of a record, by the source that told of most; None without any."""
        sources = self._counts.get(key)
        if not sources:
            return None
        from scx_gamer.frames.stats import BOUNDS_NS

        name, stats = max(sources.items(), key=lambda item: item[1].count)
        target_ns = stats.quantile_ns(0.5)
        ends = (*BOUNDS_NS, stats.longest_ns)
        return {
            "source": name,
            "count": stats.count,
            "mean_fps": round(stats.mean_fps, 2),
            "low_1_fps": round(stats.low_fps(), 2),
            "low_01_fps": round(stats.low_fps(0.001), 2),
            "missed": stats.missed(target_ns),
            "target_ms": round(target_ns / 1e6, 3),
            "longest_ms": round(stats.longest_ns / 1e6, 3),
            "histogram": [
                [round(end / 1e6, 3), n] for end, n in zip(ends, stats.counts, strict=True) if n
            ],
        }

    def lately(self, key: Key) -> dict[str, float]:
        """Return the fields of a sample since the last call; empty without frames."""
        _, stats = self._lately.pop(key, ("", None))
        if stats is None:
            return {}
        whole = max(self._counts[key].values(), key=lambda one: one.count)
        return {
            "frames": stats.count,
            "frame_mean_ms": round(stats.total_ns / stats.count / 1e6, 3),
            "frame_p99_ms": round(stats.quantile_ns(0.99) / 1e6, 3),
            "frame_max_ms": round(stats.longest_ns / 1e6, 3),
            "missed": stats.missed(whole.quantile_ns(0.5)),
        }

    def keep(self, keys: Collection[Key]) -> None:
        """Forget the frames of all games but those."""
        for key in self._counts.keys() - keys:
            self._counts.pop(key)
            self._lately.pop(key, None)


class Sessions:
    """Begins and ends sessions with games. `services` and `waits` tell the figures: see reading()."""

    def __init__(
        self,
        loop: Loop,
        path: Path,
        options: SupervisorOptions,
        services: Callable[[], Services],
        waits: Callable[[], list[int]],
    ) -> None:
        self._loop, self._path, self._options = loop, path, options
        self._services, self._waits = services, waits
        self._recorder: Recorder | None = None
        self._unavailable = ""  # why there is no recorder
        self._interference: Interference | None = None  # while a game runs
        self._charging = NO_TIMER  # until it is opened
        self.frames = SessionFrames(self._active)

    def _active(self) -> Key | None:
        game = self._services().games.tracker.active
        return game.key if game is not None and self._options.sessions else None

    def update(self, games: Iterable[Game]) -> None:
        """Follow the games that run, those in their grace period included."""
        found = list(games) if self._options.sessions else []
        if self._recorder is None:
            if not found or self._unavailable:
                return
            try:
                self._recorder = self._open()
            except ImportError as err:
                self._unavailable = f"{err}; install sqlite3 for Python"
                log.error("sessions are not recorded: %s", self._unavailable)
                return
        from scx_gamer.sessions.recorder import Playing

        if found and self._charging is NO_TIMER:
            self._charging = self._loop.call_later(_CHARGE_AFTER_S, self._charge, name="charge")
        self._recorder.update(
            Playing(
                key=game.key,
                uid=game.decision.root.uid,
                name=game.decision.name,
                app_id=game.decision.app_id,
                since_s=game.since_s,
                ended_s=lambda game=game: game.ended_s,  # type: ignore[misc]
            )
            for game in found
        )
        self.frames.keep({game.key for game in found})
        if not found:
            self._close_interference()

    def _charge(self) -> None:
        """Load the hooks that charge the game's waits to programs; without them there is a record all the same."""
        from scx_gamer.frames.interference import Interference
        from scx_gamer.libbpf import BpfError

        try:
            self._interference = Interference(self._services().observe)
        except BpfError as err:
            log.warning("programs that take the CPU from the game are unknown: %s", err)

    def _programs(self) -> Programs | None:
        from scx_gamer.libbpf import BpfError
        from scx_gamer.sessions.record import ProgramTimes

        if self._interference is None:
            return None
        try:
            # 9 us a program: input may interrupt it, because it shares no map with input
            found = self._loop.run_interruptible(self._interference.read)
        except BpfError as err:
            log.warning("programs that take the CPU from the game are no longer known: %s", err)
            self._close_interference()
            return None
        return {key: ProgramTimes(**times) for key, times in found.items()}

    def _close_interference(self) -> None:
        self._charging.cancel()
        self._charging = NO_TIMER
        interference, self._interference = self._interference, None
        if interference is not None:
            interference.close()

    def _open(self) -> Recorder:
        from scx_gamer.sessions.power import PowerMeter
        from scx_gamer.sessions.recorder import Limits, Recorder

        options, meter = self._options, PowerMeter()
        limits = Limits(options.session_days, options.session_mb << 20, options.session_every_s)

        def read() -> Reading:
            return reading(self._services(), self._waits(), meter.read(), self._programs())

        return Recorder(self._loop, self._path, limits, read, self.frames)

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._close_interference()

    def status(self) -> SessionFacts:
        """Return the key `sessions` of the status."""
        recorder = self._recorder
        return {
            "keep": self._options.sessions,
            "running": len(recorder.ids) if recorder else 0,
            "recorded": recorder.recorded if recorder else 0,
            "refused": recorder.refused if recorder else 0,
            "write_errors": recorder.write_errors if recorder else 0,
            "write_max_ms": recorder.write_max_ns / 1e6 if recorder else 0.0,
            "error": recorder.error if recorder else self._unavailable,
        }

    def last_ended(self) -> int:
        """Return the id of the newest session of this supervisor that ended, 0 before there is one."""
        return self._recorder.last_ended if self._recorder else 0

    # ---- operations ------------------------------------------------------------------------------

    def records(self, request: Mapping[str, Any], uid: int) -> list[dict[str, Any]]:
        """Return the user's records, the newest first: `count` of them, older than `before`."""
        before = _number(request, "before", None)
        with _refused():
            from scx_gamer.sessions.database import MAX_ROWS, Database

            count = _number(request, "count", MAX_ROWS) or MAX_ROWS
            if not self._path.exists():
                return []

            def read() -> list[dict[str, Any]]:
                with Database(self._path) as db:
                    return db.listing(uid, self._ids(), count=count, before=before)

            return self._loop.run_interruptible(read)

    def record(self, request: Mapping[str, Any], uid: int) -> dict[str, Any]:
        """Return a record of the user's with its timeline."""
        number = _number(request, "id", 0) or 0
        with _refused():
            from scx_gamer.sessions.database import Database

            def read() -> dict[str, Any]:
                with Database(self._path) as db:
                    return db.one(number, uid, self._ids())

            return self._loop.run_interruptible(read)

    def delete(self, request: Mapping[str, Any], uid: int) -> dict[str, int]:
        """Delete a record of the user's, or with `all` every one, of sessions that have ended."""
        everything = request.get("all") is True
        number = None if everything else _number(request, "id", 0)
        with _refused():
            if self._recorder is None:
                self._recorder = self._open()
            deleted = self._recorder.delete(number, uid)
        if not deleted and not everything:
            raise ControlError(f"no session {number} of yours that has ended", FAILED)
        return {"deleted": deleted}

    def _ids(self) -> set[int]:
        return self._recorder.ids if self._recorder else set()


def reading(
    services: Services, longest_ns: Sequence[int], power: Power | None, programs: Programs | None
) -> Reading:
    """Return the supervisor's figures of now."""
    from scx_gamer.sessions.record import Reading

    machine, observe = services.machine, services.observe
    classes = observe.abi.names("class")
    attempts = machine.counters()
    lanes = len(observe.abi.names("lane"))
    return Reading(
        time_s=time.monotonic(),
        attached=machine.attached is not None,
        profile=services.profile.name,
        classes=[classes[number] for number in sorted(classes)],
        counters=services.generations.totals(),
        longest_ns=longest_ns,
        attaches=attempts.attaches["ok"],
        exits=attempts.exits,
        windows=sum(observe.windows.get(f"lane[{lane}].opened") for lane in range(lanes)),
        held_back=services.games.held_back(),
        power=power,
        programs=programs,
        gpu=services.frames.gpu_work(),
    )


@contextmanager
def _refused() -> Iterator[None]:
    """Turn an error of the database into one of the request. The block imports what it needs."""
    from scx_gamer.sessions import SessionError

    try:
        yield
    except SessionError as err:
        raise ControlError(err.what, err.exit_code, err.errno, err.hint) from err
    except ImportError as err:
        raise ControlError(f"sessions are unavailable: {err}", FAILED) from err


def _number(request: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = request.get(name, default)
    if value is not None and (type(value) is not int or not 0 <= value <= _MAX_ID):
        raise ControlError(f"give {name} as a whole number, 0 or more", USAGE)
    return value

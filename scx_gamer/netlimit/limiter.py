# SPDX-License-Identifier: GPL-2.0-or-later
"""The traffic limiter: limits of the running game's settings and of the user."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from scx_gamer.config.network import Limit, NetworkSettings, Target
from scx_gamer.libbpf import BpfError
from scx_gamer.netlimit import cgroups
from scx_gamer.netlimit.cgroups import Member
from scx_gamer.netlimit.errors import NetError
from scx_gamer.netlimit.programs import Programs, remove_leftovers
from scx_gamer.netlimit.registry import NO_TRAFFIC, Entry, Registry
from scx_gamer.system.files import open_directory
from scx_gamer.system.loop import NO_TIMER, Loop, Timer
from scx_gamer.system.procfs import COMM_LENGTH, comm_of, program_names
from scx_gamer.system.text import printable

log = logging.getLogger(__name__)

SWEEP_S = 2.0  # period of the search for programs that started while limits are in force
METER_S = 6.0  # the meter is detached this long after the last request
_MAX_REQUESTS = 64
_MAX_NAMES = 4  # programs named in a row of the meter, of the first _MAX_NAMED processes
_MAX_NAMED = 16
_NOT_FOUND = 3  # ESRCH


@dataclass
class LimitRequest:
    """A requested limit on a target. `origin` is `settings` (of the running game) or `user`."""

    origin: str
    target: Target
    limit: Limit
    timer: Timer = NO_TIMER  # until it expires
    refused: dict[str, str] = field(default_factory=dict)  # cgroup -> why

    @property
    def key(self) -> str:
        return f"{self.origin} {self.target}"


class TrafficLimiter:
    """Owner of the BPF programs, which are loaded at the first limit. `game_pids` returns every process of a game."""

    def __init__(
        self, loop: Loop, game_pids: Callable[[], Collection[int]], *, proc: Path = Path("/proc")
    ) -> None:
        self._loop, self._game_pids, self._proc = loop, game_pids, proc
        self._requests: dict[str, LimitRequest] = {}
        self._protected: tuple[str, ...] = ()
        self._programs: Programs | None = None
        self._registry: Registry | None = None
        self._stack = ExitStack()
        self._timer = self._meter_timer = NO_TIMER
        self.refusals = 0
        self.leftovers = 0
        self.error = ""  # reason why no traffic can be limited
        self.hybrid = False
        self._mount: Path | None = None
        try:
            found = cgroups.hierarchy(proc)
            self._mount, self.hybrid = found.mount, found.hybrid
            if found.mount is None:
                self.error = "no cgroup2 hierarchy is mounted"
            else:
                self.leftovers = _remove_leftovers(found.mount)
        except (OSError, BpfError) as err:
            self.error = str(err)
        if self.error:
            log.warning("network limits are unavailable: %s", self.error)
        if self.leftovers:
            log.warning("detached %d network programs of an earlier supervisor", self.leftovers)

    # ---- the running game's settings -------------------------------------------------------------

    def apply(self, settings: NetworkSettings, running_game: bool) -> None:
        """Apply the limits of `settings` while a game runs. Call it at every change of either."""
        self._protected = settings.protected
        wanted: dict[str, LimitRequest] = {}
        limits = settings.enabled and bool(settings.limit.down or settings.limit.up)
        if running_game and limits and self._mount is not None:
            for target in settings.targets:
                request = LimitRequest("settings", target, settings.limit)
                wanted[request.key] = request
        for request in [r for r in self._requests.values() if r.origin == "settings"]:
            if request.key not in wanted:
                self._end(request)
        for key, request in wanted.items():
            known = self._requests.setdefault(key, request)
            known.limit = request.limit
        self._sweep()

    # ---- requests of the user --------------------------------------------------------------------

    def limit(self, target: Target, limit: Limit, for_s: float | None) -> dict[str, object]:
        """Limit a target until release(), for a time, or until its processes ended. Raises NetError."""
        registry = self._open()
        request = LimitRequest("user", target, limit)
        known = self._requests.get(request.key)
        if known is None and len(self._requests) >= _MAX_REQUESTS:
            raise NetError(
                f"{_MAX_REQUESTS} targets are limited already", hint="release one of them"
            )
        request = known or request
        before, request.limit = request.limit, limit
        request.refused.clear()
        try:
            members = self._hold(request)
            if not registry.held(request.key):
                raise NetError(*self._no_match_error(request, members))
        except NetError:
            request.limit = before
            if known is None:
                registry.release(request.key)
            else:
                self._hold(request)
            raise
        request.timer.cancel()
        if for_s is not None:
            request.timer = self._loop.call_later(
                for_s, lambda: self._expire(request), name="net limit"
            )
        self._requests[request.key] = request
        self._schedule_sweep()
        log.info("%s is limited as the user requested", printable(str(target)))
        return self._shown(request)

    def _no_match_error(self, request: LimitRequest, members: list[Member]) -> tuple[str, int, str]:
        for path, why in request.refused.items():
            return f"{printable(path)} is not limited: {why}", 0, "--kind task charges one program"
        if members:
            return f"{printable(str(request.target))} ended meanwhile", _NOT_FOUND, ""
        return (
            f"no process matches {printable(str(request.target))}",
            _NOT_FOUND,
            "see `scx-gamer net list`",
        )

    def release(self, target: Target | None) -> int:
        """End the user's limit of a target, or all limits of the user. Return their number."""
        ended = [
            request
            for request in self._requests.values()
            if request.origin == "user" and target in (None, request.target)
        ]
        for request in ended:
            self._end(request)
        return len(ended)

    def _expire(self, request: LimitRequest) -> None:
        log.info("the limit of %s expired", printable(str(request.target)))
        self._end(request)

    def _end(self, request: LimitRequest) -> None:
        request.timer.cancel()
        self._requests.pop(request.key, None)
        if self._registry is not None:
            self._registry.release(request.key)

    # ---- limited processes -----------------------------------------------------------------------

    def _open(self) -> Registry:
        """Load the programs unless they are loaded, and return the registry. Raises NetError."""
        if self._registry is not None:
            return self._registry
        if self._mount is None:
            raise NetError(
                f"network limits are unavailable: {self.error}", hint="see `scx-gamer doctor`"
            )
        try:
            programs = Programs()
        except BpfError as err:
            self.error = str(err)
            raise NetError(
                f"cannot load the network programs: {err}", err.errno, _missing(err)
            ) from err
        self._stack.callback(programs.close)
        self.error = ""
        self._programs = programs
        self._registry = Registry(
            self._loop, programs, self._mount, self._on_last_exit, proc=self._proc
        )
        self._stack.callback(self._registry.close)
        return self._registry

    def _hold(self, request: LimitRequest) -> list[Member]:
        """Limit the processes that match the request now, and return all matches. Raises NetError."""
        registry = self._open()
        assert self._mount is not None
        members = cgroups.resolve(request.target, self._mount, self._proc)
        verdicts: dict[str, str] = {}
        for member in members:
            key = member.path if request.limit.kind == "cgroup" else f"{member.path} {member.pid}"
            if key not in verdicts:
                verdicts[key] = self._refusal(member, request.limit.kind)
                if verdicts[key] and request.refused.get(key) != verdicts[key]:
                    self._refuse(request, key, verdicts[key])
            if not verdicts[key]:
                request.refused.pop(key, None)
                registry.hold(member, request.key, request.limit)
        return members

    def _refuse(self, request: LimitRequest, key: str, why: str) -> None:
        request.refused[key] = why
        self.refusals += 1
        log.warning("%s is not limited: %s", printable(key or str(request.target)), why)

    def _refusal(self, member: Member, kind: str) -> str:
        """Return the reason why a limit of this kind is not allowed; empty if it is."""
        assert self._mount is not None
        if kind == "task":
            return self._protected_process({member.pid})
        if member.path == "/":
            return "it is the root cgroup, which contains every process"
        return self._protected_process(cgroups.members(self._mount / member.path.lstrip("/")))

    def _protected_process(self, pids: set[int]) -> str:
        """Return a message that names a game or a protected program among `pids`; empty if there is none."""
        games = pids & set(self._game_pids())
        if games:
            pid = min(games)
            return (
                f"it contains the game (process {pid}, {printable(comm_of(pid, self._proc), 32)})"
            )
        names = {name.lower() for name in self._protected}
        names |= {name[:COMM_LENGTH] for name in names}
        for pid in sorted(pids) if names else ():
            for name in program_names(pid, self._proc):
                if name.lower() in names:
                    shown = printable(name, 64)
                    return f"it contains {shown} (process {pid}), which is protected"
        return ""

    def _on_last_exit(self, key: str) -> None:
        """Look for processes that joined the unit since the last sweep, because its last limited one ended."""
        request = self._requests.get(key)
        if request is not None and request.target.kind in ("unit", "app"):
            self._try(request)

    def _try(self, request: LimitRequest) -> None:
        try:
            self._hold(request)
        except NetError as err:
            if request.refused.get("") != str(err):
                self._refuse(request, "", str(err))

    def _sweep(self) -> None:
        """Limit new matching processes, drop removed cgroups, and release cgroups that a game entered."""
        if self._registry is not None:
            self._registry.check()
            for entry in list(self._registry.entries.values()):
                self._recheck(self._registry, entry)
        for request in list(self._requests.values()):
            self._try(request)
            if request.target.kind == "pid" and not self._held(request):
                self._end(request)
        self._schedule_sweep()

    def _held(self, request: LimitRequest) -> int:
        return self._registry.held(request.key) if self._registry is not None else 0

    def _recheck(self, registry: Registry, entry: Entry) -> None:
        assert self._mount is not None
        if entry.limit is None or entry.limit.kind != "cgroup":
            return
        why = self._protected_process(cgroups.members(self._mount / entry.path.lstrip("/")))
        if why:
            log.warning("%s is no longer limited: %s", printable(entry.path), why)
            registry.release_entry(entry)

    def _schedule_sweep(self) -> None:
        """Schedule the next sweep while there are requests or stuck cgroups."""
        stuck = self._registry is not None and self._registry.stuck
        self._timer.cancel()
        if self._requests or stuck:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep, name="network limit")

    # ---- snapshots -------------------------------------------------------------------------------

    def measure(self) -> dict[str, object]:
        """Return the bytes of each cgroup since the meter started: at the first call, until METER_S after the last."""
        registry = self._open()
        assert self._programs is not None and self._mount is not None
        try:
            with open_directory(self._mount) as root:
                self._programs.start_meter(root)
            counted = self._programs.metered()
        except BpfError as err:
            raise NetError(f"cannot measure traffic: {err}", err.errno) from err
        now = time.monotonic_ns()
        self._meter_timer.cancel()
        self._meter_timer = self._loop.call_later(METER_S, self._stop_meter, name="net meter")
        games = set(self._game_pids())
        rows = []
        for cgroup in (self._mount, *cgroups.descendants(self._mount)):
            try:
                number = cgroup.stat().st_ino
                pids = [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]
            except (OSError, ValueError):  # removed meanwhile, or a threaded cgroup
                continue
            if not pids and number not in counted:
                continue
            down, up = counted.get(number, (0, 0))
            names = {comm_of(pid, self._proc) for pid in pids[:_MAX_NAMED]} - {""}
            rows.append(
                {
                    "cgroup": f"/{cgroup.relative_to(self._mount)}".replace("/.", "/"),
                    "id": number,
                    "processes": len(pids),
                    "programs": sorted(names)[:_MAX_NAMES],
                    "down_bytes": down,
                    "up_bytes": up,
                    "limited": number in registry.entries,
                    "game": bool(games & set(pids)),
                }
            )
        return {"time_ns": now, "cgroups": rows}

    def _stop_meter(self) -> None:
        if self._programs is not None:
            self._programs.stop_meter()

    def _shown(self, request: LimitRequest) -> dict[str, object]:
        left_s = (request.timer.due_ns - Loop.now_ns()) / 1e9
        return {
            "target": str(request.target),
            "origin": request.origin,
            "kind": request.limit.kind,
            "scope": request.limit.scope,
            "down_bytes_per_s": request.limit.down,
            "up_bytes_per_s": request.limit.up,
            "processes": self._held(request),
            "left_s": round(left_s, 1) if request.timer.pending else None,
            "refused": [{"cgroup": path, "why": why} for path, why in request.refused.items()],
        }

    def status(self) -> dict[str, object]:
        """Return the limits, their requests and their packet counters."""
        registry = self._registry
        limits = []
        for entry in list(registry.entries.values()) if registry is not None else ():
            assert registry is not None
            limit, counts = entry.limit, registry.counts(entry)
            if limit is not None:
                limits.append(
                    {
                        "cgroup": entry.path,
                        "kind": limit.kind,
                        "scope": limit.scope,
                        "down_bytes_per_s": limit.down,
                        "up_bytes_per_s": limit.up,
                        "processes": len({holder.pid for holder in entry.holds}),
                        **{f"{lane}_{name}": value for (lane, name), value in counts.items()},
                    }
                )
        return {
            "available": self._mount is not None and not self.error,
            "why": self.error,
            "wishes": [self._shown(request) for request in self._requests.values()],
            "limits": limits,
            "orphans": len(registry.stuck) if registry is not None else 0,
        }

    def counters(self) -> dict[str, object]:
        """Return the counters of the metrics."""
        registry = self._registry
        totals = registry.totals() if registry is not None else NO_TRAFFIC
        return {
            "limits": len(registry.entries) if registry is not None else 0,
            "orphans": len(registry.stuck) if registry is not None else 0,
            "orphaned": registry.stuck_total if registry is not None else 0,
            "refusals": self.refusals,
            "leftovers": self.leftovers,
            "traffic": {f"{lane}.{name}": value for (lane, name), value in totals.items()},
        }

    def close(self) -> None:
        """Cancel the timers, end all limits and detach all programs."""
        self._timer.cancel()
        self._meter_timer.cancel()
        for request in list(self._requests.values()):
            self._end(request)
        self._stack.close()
        self._registry = None
        self._programs = None


def _missing(err: BpfError) -> str:
    """Name the drop-in where the unit's capabilities do not suffice."""
    denied = err.errno in (errno.EPERM, errno.EACCES)
    return "the unit needs CAP_NET_ADMIN: see /usr/share/scx-gamer/systemd" if denied else ""


def _remove_leftovers(mount: Path) -> int:
    """Detach programs of an earlier supervisor and return their number. Raises BpfError, OSError."""
    try:
        return remove_leftovers(mount)
    except BpfError as err:
        if err.errno != errno.EPERM:
            raise
        # Listing programs needs CAP_SYS_ADMIN, which the unit drops. Our links end with the process, and doctor and
        # `net release` search as root.
        log.debug("cannot list programs of an earlier supervisor: %s", err)
        return 0

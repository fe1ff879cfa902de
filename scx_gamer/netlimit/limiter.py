# SPDX-License-Identifier: GPL-2.0-only
"""Whose traffic is to be limited now: the running game's settings and what the user asked for."""

from __future__ import annotations

import errno
import logging
import os
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
from scx_gamer.system.loop import Loop, Timer
from scx_gamer.system.procfs import comm_of
from scx_gamer.system.text import printable

log = logging.getLogger(__name__)

SWEEP_S = 2.0  # how soon a program that starts while limits hold is found
METER_S = 6.0  # the meter goes when nobody asked for so long
_MAX_WISHES = 64


@dataclass
class Wish:
    """A target to be limited. `origin`: `settings` of the running game, or `user`."""

    origin: str
    target: Target
    limit: Limit
    timer: Timer | None = None
    refused: dict[str, str] = field(default_factory=dict)  # cgroup -> why

    @property
    def key(self) -> str:
        return f"{self.origin} {self.target}"


class NetRoom:
    """Owns the programs, loaded at the first limit. `game_pids` names every process of a game."""

    def __init__(
        self, loop: Loop, game_pids: Callable[[], Collection[int]], *, proc: Path = Path("/proc")
    ) -> None:
        self._loop, self._game_pids, self._proc = loop, game_pids, proc
        self._wishes: dict[str, Wish] = {}
        self._protected: tuple[str, ...] = ()
        self._programs: Programs | None = None
        self._registry: Registry | None = None
        self._stack = ExitStack()
        self._timer: Timer | None = None
        self._meter_timer: Timer | None = None
        self.refusals = 0
        self.leftovers = 0
        self.error = ""  # why nothing can be limited
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
            log.warning("traffic cannot be limited: %s", self.error)
        if self.leftovers:
            log.warning("removed %d programs that another life left", self.leftovers)

    # ---- the running game's settings -------------------------------------------------------------

    def apply(self, settings: NetworkSettings, running_game: bool) -> None:
        """Make the limits those of `settings` while a game runs; call at every change of either."""
        self._protected = settings.protected
        wanted: dict[str, Wish] = {}
        limits = settings.enabled and bool(settings.limit.down or settings.limit.up)
        if running_game and limits and self._mount is not None:
            for target in settings.targets:
                wish = Wish("settings", target, settings.limit)
                wanted[wish.key] = wish
        for wish in [w for w in self._wishes.values() if w.origin == "settings"]:
            if wish.key not in wanted:
                self._end(wish)
        for key, wish in wanted.items():
            known = self._wishes.setdefault(key, wish)
            known.limit = wish.limit
        self._sweep()

    # ---- the user's wishes -----------------------------------------------------------------------

    def limit(self, target: Target, limit: Limit, for_s: float | None) -> dict[str, object]:
        """Limit a target until release(), for a time, or until its processes are gone. NetError."""
        self._open()
        wish = Wish("user", target, limit)
        known = self._wishes.get(wish.key)
        if known is None and len(self._wishes) >= _MAX_WISHES:
            raise NetError(f"{_MAX_WISHES} targets are limited already", hint="release one")
        wish = known or wish
        before, wish.limit = wish.limit, limit
        wish.refused.clear()
        try:
            members = self._hold(wish)
            if not self._required().held(wish.key):
                raise NetError(*self._why_nobody(wish, members))
        except NetError:
            wish.limit = before
            if known is None:
                self._required().release(wish.key)
            else:
                self._hold(wish)
            raise
        if wish.timer is not None:
            wish.timer.cancel()
            wish.timer = None
        if for_s is not None:
            wish.timer = self._loop.call_later(for_s, lambda: self._expire(wish), name="net limit")
        self._wishes[wish.key] = wish
        self._watch()
        log.info("limited by the user: %s", printable(str(target)))
        return self._shown(wish)

    def _why_nobody(self, wish: Wish, members: list[Member]) -> tuple[str, int, str]:
        for path, why in wish.refused.items():
            return f"{printable(path)} is not limited: {why}", 0, "--kind task charges one program"
        if members:
            return f"{wish.target} ended meanwhile", 3, ""
        return f"no process is {printable(str(wish.target))}", 3, "see `scx-gamer net list`"

    def release(self, target: Target | None) -> int:
        """End the user's limit of a target, or all of them; how many."""
        ended = [
            wish
            for wish in self._wishes.values()
            if wish.origin == "user" and target in (None, wish.target)
        ]
        for wish in ended:
            self._end(wish)
        return len(ended)

    def _expire(self, wish: Wish) -> None:
        log.info("the time of the limit of %s is over", printable(str(wish.target)))
        wish.timer = None
        self._end(wish)

    def _end(self, wish: Wish) -> None:
        if wish.timer is not None:
            wish.timer.cancel()
        self._wishes.pop(wish.key, None)
        if self._registry is not None:
            self._registry.release(wish.key)

    # ---- who is held -----------------------------------------------------------------------------

    def _open(self) -> Registry:
        """Load the programs. Raises NetError."""
        if self._registry is not None:
            return self._registry
        if self._mount is None:
            raise NetError(
                f"traffic cannot be limited: {self.error}", hint="see `scx-gamer doctor`"
            )
        try:
            programs = Programs()
        except BpfError as err:
            self.error = str(err)
            raise NetError(f"traffic cannot be limited: {err}", err.errno, _missing(err)) from err
        self._stack.callback(programs.close)
        self.error = ""
        self._programs = programs
        self._registry = Registry(
            self._loop, programs, self._mount, self._last_gone, proc=self._proc
        )
        self._stack.callback(self._registry.close)
        return self._registry

    def _required(self) -> Registry:
        assert self._registry is not None
        return self._registry

    def _hold(self, wish: Wish) -> list[Member]:
        """Hold whom the wish means now. Raises NetError."""
        registry = self._open()
        assert self._mount is not None
        members = cgroups.resolve(wish.target, self._mount, self._proc)
        verdicts: dict[str, str] = {}
        for member in members:
            key = member.path if wish.limit.kind == "cgroup" else f"{member.path} {member.pid}"
            if key not in verdicts:
                verdicts[key] = self._refusal(member, wish.limit.kind)
                if verdicts[key] and wish.refused.get(key) != verdicts[key]:
                    self._refuse(wish, key, verdicts[key])
            if not verdicts[key]:
                wish.refused.pop(key, None)
                registry.hold(member, wish.key, wish.limit)
        return members

    def _refuse(self, wish: Wish, key: str, why: str) -> None:
        wish.refused[key] = why
        self.refusals += 1
        log.warning("%s is not limited: %s", printable(key or str(wish.target)), why)

    def _refusal(self, member: Member, kind: str) -> str:
        """Why a limit of this kind must not be; empty when it may."""
        assert self._mount is not None
        if kind == "task":
            return self._taboo({member.pid})
        if member.path == "/":
            return "it is the root cgroup, which holds everything"
        return self._taboo(cgroups.members(self._mount / member.path.lstrip("/")))

    def _taboo(self, pids: set[int]) -> str:
        games = pids & set(self._game_pids())
        if games:
            pid = min(games)
            return f"it holds the game (process {pid}, {printable(self._comm(pid), 32)})"
        names = {name.lower() for name in self._protected}
        names |= {name[:15] for name in names}
        for pid in sorted(pids) if names else ():
            for name in cgroups.names_of(pid, self._proc):
                if name.lower() in names:
                    shown = printable(name, 64)
                    return f"it holds {shown} (process {pid}), which is protected"
        return ""

    def _comm(self, pid: int) -> str:
        return comm_of(pid, self._proc)

    def _last_gone(self, key: str) -> None:
        """A cgroup's last held process ended: others of its unit may have come since the last sweep."""
        wish = self._wishes.get(key)
        if wish is not None and wish.target.kind in ("unit", "app"):
            self._try(wish)

    def _try(self, wish: Wish) -> None:
        try:
            self._hold(wish)
        except NetError as err:
            if wish.refused.get("") != str(err):
                self._refuse(wish, "", str(err))

    def _sweep(self) -> None:
        """Follow programs that came, cgroups that went, and a game that moved in."""
        if self._registry is not None:
            self._registry.check()
            for entry in list(self._registry.entries.values()):
                self._recheck(self._registry, entry)
        for wish in list(self._wishes.values()):
            self._try(wish)
            if wish.target.kind == "pid" and not self._held(wish):
                self._end(wish)
        self._watch()

    def _held(self, wish: Wish) -> int:
        return self._registry.held(wish.key) if self._registry is not None else 0

    def _recheck(self, registry: Registry, entry: Entry) -> None:
        assert self._mount is not None
        if entry.limit is None or entry.limit.kind != "cgroup":
            return
        why = self._taboo(cgroups.members(self._mount / entry.path.lstrip("/")))
        if why:
            log.warning("%s is no longer limited: %s", printable(entry.path), why)
            registry.release_entry(entry)

    def _watch(self) -> None:
        """Sweep again later while there is anything to follow."""
        orphans = self._registry is not None and self._registry.orphans
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._wishes or orphans:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep, name="network limit")

    # ---- looking ---------------------------------------------------------------------------------

    def measure(self) -> dict[str, object]:
        """Bytes of each cgroup so far; the first call starts the meter, some seconds without one end it."""
        self._open()
        assert self._programs is not None and self._mount is not None
        try:
            root = os.open(self._mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._programs.start_meter(root)
            finally:
                os.close(root)
            counted = self._programs.metered()
        except BpfError as err:
            raise NetError(f"traffic cannot be measured: {err}", err.errno) from err
        now = time.monotonic_ns()
        if self._meter_timer is not None:
            self._meter_timer.cancel()
        self._meter_timer = self._loop.call_later(METER_S, self._stop_meter, name="net meter")
        games = set(self._game_pids())
        rows = []
        for folder in (self._mount, *cgroups.folders(self._mount)):
            try:
                number = folder.stat().st_ino
                pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
            except (OSError, ValueError):  # gone meanwhile, or a threaded one
                continue
            if not pids and number not in counted:
                continue
            down, up = counted.get(number, (0, 0))
            rows.append(
                {
                    "cgroup": f"/{folder.relative_to(self._mount)}".replace("/.", "/"),
                    "id": number,
                    "processes": len(pids),
                    "programs": sorted({self._comm(pid) for pid in pids[:16]} - {""})[:4],
                    "down_bytes": down,
                    "up_bytes": up,
                    "limited": number in self._required().entries,
                    "game": bool(games & set(pids)),
                }
            )
        return {"time_ns": now, "cgroups": rows}

    def _stop_meter(self) -> None:
        self._meter_timer = None
        if self._programs is not None:
            self._programs.stop_meter()

    def _shown(self, wish: Wish) -> dict[str, object]:
        left = None if wish.timer is None else (wish.timer.due_ns - Loop.now_ns()) / 1e9
        return {
            "target": str(wish.target),
            "origin": wish.origin,
            "kind": wish.limit.kind,
            "scope": wish.limit.scope,
            "down_bytes_per_s": wish.limit.down,
            "up_bytes_per_s": wish.limit.up,
            "processes": self._held(wish),
            "left_s": None if left is None else round(left, 1),
            "refused": [{"cgroup": path, "why": why} for path, why in wish.refused.items()],
        }

    def status(self) -> dict[str, object]:
        """What is limited, for whom, and what became of its packets."""
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
            "wishes": [self._shown(wish) for wish in self._wishes.values()],
            "limits": limits,
            "orphans": len(registry.orphans) if registry is not None else 0,
        }

    def counters(self) -> dict[str, object]:
        """What the metrics show. Any thread may ask."""
        registry = self._registry
        totals = registry.totals() if registry is not None else NO_TRAFFIC
        return {
            "limits": len(registry.entries) if registry is not None else 0,
            "orphans": len(registry.orphans) if registry is not None else 0,
            "orphaned": registry.orphaned if registry is not None else 0,
            "refusals": self.refusals,
            "leftovers": self.leftovers,
            "traffic": {f"{lane}.{name}": value for (lane, name), value in totals.items()},
        }

    def close(self) -> None:
        """Everything is as if we had never been."""
        for timer in (self._timer, self._meter_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._meter_timer = None
        for wish in list(self._wishes.values()):
            self._end(wish)
        self._stack.close()
        self._registry = None
        self._programs = None


def _missing(err: BpfError) -> str:
    """Name the drop-in where the unit's capabilities do not suffice."""
    denied = err.errno in (errno.EPERM, errno.EACCES)
    return "the unit needs CAP_NET_ADMIN: see /usr/share/scx-gamer/systemd" if denied else ""


def _remove_leftovers(mount: Path) -> int:
    """How many were removed. Raises BpfError, OSError."""
    try:
        return remove_leftovers(mount)
    except BpfError as err:
        if err.errno != errno.EPERM:
            raise
        # To list programs takes CAP_SYS_ADMIN, which our unit does without: ours go with our links, so with us, and
        # doctor and `net release` look as root.
        log.debug("leftovers of another life cannot be looked for: %s", err)
        return 0

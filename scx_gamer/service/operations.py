# SPDX-License-Identifier: GPL-2.0-only
"""What the supervisor can be asked, over its socket and over the bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from scx_gamer.control import ControlError
from scx_gamer.control.server import Operation, pid_of
from scx_gamer.games.detector import HINTS, GameError, GamesRoom
from scx_gamer.profiles import ProfileError
from scx_gamer.scheduler.machine import State
from scx_gamer.scheduler.store import StateStore
from scx_gamer.service.active_profile import Tuning
from scx_gamer.service.services import Rooms
from scx_gamer.service.status import Status
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, USAGE
from scx_gamer.system.text import printable

Request: TypeAlias = Mapping[str, Any]
Room = TypeVar("Room")


class Operations:
    """Each raises ControlError where it is refused. `reload(cause)` reads configuration and profiles again."""

    def __init__(
        self,
        rooms: Rooms,
        status: Status,
        store: StateStore,
        *,
        publish: Callable[[], None],
        reload: Callable[[str], None],
    ) -> None:
        self._rooms, self._status, self._store = rooms, status, store
        self._publish, self._reload = publish, reload

    def table(self) -> dict[str, Operation]:
        """By name. What reads is everybody's, what changes something is root's."""
        reads: dict[str, Callable[[Request], object]] = {
            "status": lambda _request: self._status.status(),
            "devices": lambda _request: self._status.devices(),
            "games": lambda _request: self._rooms.listing(),
            "explain": self._explain,
            "profiles": lambda _request: self._profiles(),
            "snapshot": lambda _request: self._status.snapshot(),
        }
        changes: dict[str, Callable[[Request], object]] = {
            "start": lambda _request: self.start(),
            "stop": lambda _request: self.stop(),
            "restart": lambda _request: self.restart(),
            "hint": self._hint,
            "game_add": lambda request: self.add_game(pid_of(request), "named by the user"),
            "game_remove": lambda request: self.remove_game(pid_of(request)),
            "profile_set": self._profile_set,
            "reload": lambda _request: self.reload(),
        }
        table = {name: Operation(call, root_only=False) for name, call in reads.items()}
        table |= {name: Operation(call, root_only=True) for name, call in changes.items()}
        if self._rooms.network is not None:
            from scx_gamer.netlimit import operations

            table |= operations(self._rooms.network)
        return table

    # ---- the scheduler -----------------------------------------------------------------------

    def start(self) -> dict[str, object]:
        machine = _open(self._rooms.machine)
        machine.user_start()
        if machine.state is State.CONFLICT:
            raise ControlError(machine.cause, NO_PERMISSION)
        return self._status.status()

    def stop(self) -> dict[str, object]:
        _open(self._rooms.machine).user_stop()
        return self._status.status()

    def restart(self) -> dict[str, object]:
        machine = _open(self._rooms.machine)
        if machine.state is State.OFF:
            raise ControlError("it is switched off: use `scx-gamer start`", FAILED)
        machine.user_restart()
        return self._status.status()

    # ---- games -------------------------------------------------------------------------------

    def add_game(self, pid: int, reason: str) -> dict[str, object]:
        try:
            self._games().add(pid, reason)
        except GameError as err:
            raise ControlError(str(err), FAILED, err.errno) from err
        return self._status.status()

    def remove_game(self, pid: int) -> dict[str, object]:
        if not self._games().remove(pid):
            raise ControlError(f"{pid} is no game: see `scx-gamer games list`", FAILED)
        return self._status.status()

    def _games(self) -> GamesRoom:
        return _open(self._rooms.games)

    def _explain(self, request: Request) -> dict[str, object]:
        return self._games().explain(pid_of(request))

    def _hint(self, request: Request) -> dict[str, object]:
        """What a user session says; `pid` 0 with `focus`: nobody knows any more."""
        source, kind, pid = (request.get(name) for name in ("source", "kind", "pid"))
        if not isinstance(source, str) or not isinstance(kind, str):
            raise ControlError("give source and kind as text", USAGE)
        if kind not in HINTS or type(pid) is not int or not 0 <= pid < 1 << 31:
            raise ControlError(f"give a pid, and as kind one of {', '.join(HINTS)}", USAGE)
        return {"used": self._games().hint(printable(source, 40), pid, kind)}

    # ---- profiles ----------------------------------------------------------------------------

    def _tuning(self) -> Tuning:
        return _open(self._rooms.tuning)

    def _profiles(self) -> list[dict[str, object]]:
        found = self._tuning().profiles.profiles
        return [
            {"name": name, "description": one.title, "source": "vendor" if one.vendor else "admin"}
            for name, one in sorted(found.items())
        ]

    def _profile_set(self, request: Request) -> dict[str, object]:
        name, sticky = request.get("name"), request.get("sticky", True)
        if not isinstance(name, str) or not isinstance(sticky, bool):
            raise ControlError("give the profile's name as text: name", USAGE)
        return self.set_profile(name, sticky=sticky)

    def set_profile(self, name: str, *, sticky: bool) -> dict[str, object]:
        """Use a profile from here on; `sticky`: after the next start too."""
        try:
            self._tuning().choose(name)
        except ProfileError as err:
            raise ControlError(str(err), USAGE) from err
        if sticky:
            self._store.save(profile=name)
        self._publish()
        return self._status.profile()

    def reload(self) -> dict[str, object]:
        """Configuration and profiles again; what is wrong stays as it was and is in the errors."""
        self._reload("asked to")
        return self._status.profile()


def _open(room: Room | None) -> Room:
    if room is None:
        raise ControlError("the supervisor is still starting", FAILED)
    return room

# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls behind the table of operations, the same for the control socket and the bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from scx_gamer import netlimit
from scx_gamer.control import ControlError
from scx_gamer.control.operations import Handler, Operation, bind
from scx_gamer.control.placement import placement_text
from scx_gamer.control.server import pid_of
from scx_gamer.games.detector import GameError
from scx_gamer.profiles import ProfileError
from scx_gamer.scheduler.machine import State
from scx_gamer.service.change_queue import ChangeQueue
from scx_gamer.service.services import Services
from scx_gamer.service.status import Status
from scx_gamer.service.visibility import Visibility
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, USAGE
from scx_gamer.system.procfs import start_of

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import GameFacts, ProfileFacts, StatusBody

Request: TypeAlias = Mapping[str, Any]


class Operations:
    """Each raises ControlError where it is refused. `reload(cause)` reads configuration and profiles again."""

    def __init__(
        self,
        services: Services,
        status: Status,
        changes: ChangeQueue,
        reload: Callable[[str], None],
        visibility: Visibility,
    ) -> None:
        self._services, self._status, self._changes = services, status, changes
        self._reload, self._visibility = reload, visibility

    def table(self) -> dict[str, Operation]:
        """Return the calls by name, each with its row of the table."""
        calls: dict[str, Handler] = {
            "status": lambda _request, uid: self._seen(self._status.status(), uid),
            "devices": lambda _request, _uid: self._status.devices(),
            "games": lambda _request, uid: self._visibility.games(
                cast("list[GameFacts]", self._services.games.listing()), uid
            ),
            "explain": self._explain,
            "profiles": self._profiles,
            "snapshot": lambda _request, uid: self._seen(self._status.snapshot(), uid),
            "hint": self._services.hints.take,
            "sessions": self._services.sessions.records,
            "session": self._services.sessions.record,
            "session_delete": self._services.sessions.delete,
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "reload": self._reload_files,
            "game_add": self._game_add,
            "game_remove": self._game_remove,
            "profile_set": self._profile_set,
            "compare": lambda request, uid: self._compared(
                self._services.comparison.hold(request, uid)
            ),
            "compare_end": lambda request, uid: self._compared(
                self._services.comparison.release(request, uid)
            ),
        }
        return bind(calls | netlimit.operations(self._services.network))

    def _applied(self) -> StatusBody:
        """Return the status after the consequences of the operation."""
        self._changes.apply()
        return self._status.status()

    def _seen(self, body: StatusBody, uid: int) -> StatusBody:
        """The status as far as the user may see its games."""
        body["games"] = self._visibility.games(body.get("games", []), uid)
        if not body["games"]:
            body.pop("frames", None)
        return body

    # ---- scheduler ---------------------------------------------------------------------------

    def _start(self, request: Request, _uid: int) -> StatusBody:
        profile = request.get("profile", "")
        if not isinstance(profile, str):
            raise ControlError("give the profile's name as text: profile", USAGE)
        if profile:
            self._use_profile(profile, sticky=False)
        machine = self._services.machine
        machine.user_start()
        if machine.state is State.CONFLICT:
            raise ControlError(machine.cause, NO_PERMISSION)
        return self._applied()

    def _stop(self, _request: Request, _uid: int) -> StatusBody:
        self._services.machine.user_stop()
        return self._applied()

    def _restart(self, _request: Request, _uid: int) -> StatusBody:
        machine = self._services.machine
        if machine.off:
            raise ControlError("the scheduler is switched off: use `scx-gamer start`", FAILED)
        machine.user_restart()
        return self._applied()

    def _compared(self, answer: dict[str, object]) -> dict[str, object]:
        self._changes.apply()
        return answer

    # ---- games -------------------------------------------------------------------------------

    def _game_add(self, request: Request, _uid: int) -> StatusBody:
        """`start`, where it is given, is when the process began: an id alone may be another's meanwhile."""
        pid, start = pid_of(request), request.get("start")
        if start is not None and start != start_of(pid):
            raise ControlError(f"process {pid} is another one meanwhile", FAILED)
        try:
            self._services.games.add(pid, "named by the user")
        except GameError as err:
            raise ControlError(str(err), FAILED, err.errno) from err
        return self._applied()

    def _game_remove(self, request: Request, _uid: int) -> StatusBody:
        pid = pid_of(request)
        if not self._services.games.remove(pid):
            raise ControlError(f"{pid} is no game: see `scx-gamer games list`", FAILED)
        return self._applied()

    def _explain(self, request: Request, uid: int) -> dict[str, object]:
        """Answer about the asking user's own processes: /proc may hide all others from that user."""
        pid = pid_of(request)
        self._visibility.check_process(pid, uid)
        answer = self._services.games.explain(pid)
        if answer.get("game"):
            answer["placement"] = placement_text(self._status.placement())
        return answer

    # ---- profiles ----------------------------------------------------------------------------

    def _profiles(self, _request: Request, _uid: int) -> list[dict[str, object]]:
        found = self._services.profile.profiles.profiles
        return [
            {"name": name, "description": one.title, "source": "vendor" if one.vendor else "admin"}
            for name, one in sorted(found.items())
        ]

    def _profile_set(self, request: Request, _uid: int) -> ProfileFacts:
        name, sticky = request.get("name"), request.get("sticky", True)
        if not isinstance(name, str) or not isinstance(sticky, bool):
            raise ControlError("give the profile's name as text: name", USAGE)
        return self._use_profile(name, sticky=sticky)

    def _use_profile(self, name: str, *, sticky: bool) -> ProfileFacts:
        """Use a profile from here on; `sticky`: after the next start too."""
        try:
            self._services.profile.choose(name)
        except ProfileError as err:
            raise ControlError(str(err), USAGE) from err
        if sticky:
            self._services.store.save(profile=name)
        self._changes.status_changed()
        self._changes.apply()
        return self._status.profile()

    def _reload_files(self, _request: Request, _uid: int) -> ProfileFacts:
        """Read configuration and profiles again; the errors name the parts that keep their old values."""
        self._reload("asked to")
        self._changes.apply()
        return self._status.profile()

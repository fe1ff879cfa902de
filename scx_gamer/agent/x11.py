# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of X11 and gamescope, by python-xlib: the active window and its process."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from typing import Any

from scx_gamer.agent.model import FOCUS, AgentError, Report, pid_of

_ACTIVE, _GAMESCOPE = "_NET_ACTIVE_WINDOW", "GAMESCOPE_FOCUSED_WINDOW"
_MANAGER = "_NET_SUPPORTING_WM_CHECK"


class X11:
    """The adapter of an X server. `run` finds out if gamescope or a window manager sets the focus.

    `compositor` names the Wayland session of an XWayland server, whose own windows nobody sees here.
    """

    name = "X11"

    def __init__(self, display: str, compositor: str = "") -> None:
        self._name = display
        self._compositor = compositor

    async def run(self, report: Report) -> None:
        with ExitStack() as stack:
            server = Server(self._name)
            stack.callback(server.close)
            self.name = "gamescope" if server.is_gamescope else "X11"
            if self._compositor and not server.is_gamescope:
                why = f"{self._compositor} tells no program who has the focus: only windows of XWayland are seen"
                report = partial(report, why=why)
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()

            def readable() -> None:
                try:
                    # loop: waiting for an answer reads further events
                    while server.focus_may_have_changed():
                        report(FOCUS, server.focused_pid(), True)
                except AgentError as err:
                    loop.remove_reader(server.fd)
                    if not ended.done():
                        ended.set_exception(err)

            report(FOCUS, server.focused_pid(), True)
            loop.add_reader(server.fd, readable)
            stack.callback(loop.remove_reader, server.fd)
            # events that came during the first query were read with its answer
            loop.call_soon(readable)
            await ended


class Server:
    """A connection that receives property changes of the root window. Methods raise AgentError."""

    def __init__(self, name: str) -> None:
        try:
            from Xlib import X, display, error
        except ImportError as err:
            raise AgentError(str(err), hint="install python3-xlib") from err
        self._errors = (error.XError, error.ConnectionClosedError, error.DisplayError, OSError)
        try:
            self._display = display.Display(name)
        except (*self._errors, error.DisplayNameError) as err:
            raise AgentError(f"no X server at {name}: {err}", hint="check DISPLAY") from err
        try:
            self.fd = int(self._display.fileno())
            root = self._display.screen().root
            # asynchronous X errors are about windows that were closed meanwhile: ignore them
            self._display.set_error_handler(lambda _error, _request: None)
            root.change_attributes(event_mask=X.PropertyChangeMask)
            self._root, self._property_notify, self._any = root, X.PropertyNotify, X.AnyPropertyType
            self._window_atoms = [self._display.intern_atom(n) for n in (_GAMESCOPE, _ACTIVE)]
            self._manager_atom = self._display.intern_atom(_MANAGER)
            self._pid_atom = self._display.intern_atom("_NET_WM_PID")
            self.is_gamescope = self._numbers(root, self._window_atoms[0]) is not None
            self._has_res = self._display.has_extension("X-Resource")
        except self._errors as err:
            self._display.close()
            raise AgentError(f"X server {name}: {err}") from err

    def focus_may_have_changed(self) -> bool:
        """Read pending events. Return True if a focus property changed."""
        changed = False
        try:
            while self._display.pending_events():
                event = self._display.next_event()
                changed |= event.type == self._property_notify and event.atom in self._window_atoms
        except self._errors as err:
            raise AgentError(f"the X server has ended: {err}") from err
        return changed

    def focused_pid(self) -> int:
        """Return the pid of the focused window; 0 if none is focused or its pid is unknown.

        A window of the window manager's own is none: Mutter's stands for every window of Wayland that has the focus.
        """
        try:
            for atom in self._window_atoms[0 if self.is_gamescope else 1 :]:
                value = self._numbers(self._root, atom)
                if value:
                    pid = self.pid_of_window(int(value[0]))
                    manager = self._numbers(self._root, self._manager_atom) or [0]
                    return pid if pid != self.pid_of_window(int(manager[0])) else 0
        except self._errors as err:
            raise AgentError(f"the X server has ended: {err}") from err
        return 0

    def pid_of_window(self, window: int) -> int:
        """Return the pid of a window by the X-Resource extension, else by the client's _NET_WM_PID; 0 if unknown."""
        if not window:
            return 0
        try:
            return self._pid_by_resource(window) or self._pid_by_property(window)
        except self._errors as err:
            if isinstance(err, self._errors[0]):  # an XError: the window was closed
                return 0
            raise AgentError(f"the X server has ended: {err}") from err

    def _pid_by_resource(self, window: int) -> int:
        if not self._has_res:
            return 0
        from Xlib.ext import res

        spec = [{"client": window, "mask": res.LocalClientPIDMask}]
        for found in self._display.res_query_client_ids(spec).ids:
            if found.spec.mask & res.LocalClientPIDMask and len(found.value):
                return pid_of(int(found.value[0]))
        return 0

    def _pid_by_property(self, window: int) -> int:
        value = self._numbers(
            self._display.create_resource_object("window", window), self._pid_atom
        )
        return pid_of(int(value[0])) if value else 0

    def _numbers(self, window: Any, atom: int) -> Any:
        """Return the numbers of a property: None if it is unset, empty if no window has the focus."""
        found = window.get_full_property(atom, self._any)
        return None if found is None or found.format != 32 else list(found.value)

    def close(self) -> None:
        try:
            self._display.close()
        except self._errors:
            pass  # the server closed the connection first
        finally:
            self._display.display.socket.close()  # python-xlib leaves it open after an error

# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of whatever desktop the session has now: chosen again when that one ends, or when one begins."""

from __future__ import annotations

import logging
import socket
from itertools import islice
from pathlib import Path

from scx_gamer.agent.gnome import Gnome
from scx_gamer.agent.hyprland import Hyprland
from scx_gamer.agent.i3 import I3
from scx_gamer.agent.kwin import KWin
from scx_gamer.agent.model import FOCUS, Adapter, AgentError, Environment, Report
from scx_gamer.agent.niri import Niri
from scx_gamer.agent.x11 import X11, Server
from scx_gamer.system.text import printable

log = logging.getLogger(__name__)

# Where compositors put their sockets below XDG_RUNTIME_DIR. The names hold the pid of one run: sway/sway
# (sway/ipc-server.c), YaLTeR/niri (src/ipc/server.rs), i3/i3 (libi3/get_process_filename.c), hyprwm/Hyprland.
_SOCKETS = {
    "SWAYSOCK": "sway-ipc.*.sock",
    "NIRI_SOCKET": "niri.*.sock",
    "I3SOCK": "i3/ipc-socket.*",
    "HYPRLAND_INSTANCE_SIGNATURE": "hypr/*/.socket2.sock",
}
_MAX_SOCKETS = 32  # of one pattern that are tried


def names_a_session(env: Environment) -> bool:
    """Return True if the environment is that of a graphical session, or may see one begin."""
    return any(env.get(name) for name in ("XDG_RUNTIME_DIR", "DISPLAY", *_SOCKETS))


class Desktop:
    """The adapter of the session's desktop. run() ends with that desktop; the next run() finds its successor."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.name = "desktop"

    async def run(self, report: Report) -> None:
        adapter = focus_adapter(present(self._env))
        if adapter is None:
            self.name = "desktop"
            none = AgentError("none that tells the focus", hint="docs/agent.md lists those that do")
            report(FOCUS, 0, True, f"{self.name}: {none}")
            raise none
        if adapter.name != self.name:
            log.info("the focus comes from %s", adapter.name)
            self.name = adapter.name
        why = ""
        try:
            await adapter.run(report)
        except AgentError as err:
            why = f"{self.name}: {err}"
            raise
        finally:
            report(FOCUS, 0, True, why)  # its last window need not be in front any more


def present(env: Environment) -> dict[str, str]:
    """Return `env` with the sockets that answer now: those it names, else those of a compositor that came later."""
    now = dict(env)
    folder = Path(env.get("XDG_RUNTIME_DIR") or "/nonexistent")
    for variable, pattern in _SOCKETS.items():
        before, found = now.pop(variable, ""), [*islice(folder.glob(pattern), _MAX_SOCKETS)]
        by_folder = variable == "HYPRLAND_INSTANCE_SIGNATURE"  # names the socket's folder
        if before:
            named = folder / "hypr" / before.replace("/", "") / ".socket2.sock"
            found.insert(0, named if by_folder else Path(before))
        path = next(filter(_answers, found), None)
        if path is not None:
            now[variable] = path.parent.name if by_folder else str(path)
    return now


def _answers(path: Path) -> bool:
    """Return True if somebody listens; a compositor that was killed leaves its socket behind."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            return probe.connect_ex(str(path)) == 0
        except (OSError, ValueError):  # longer than a socket's path may be, or with a NUL
            return False


def focus_adapter(env: Environment) -> Adapter | None:
    """Return the adapter of the session's desktop. X11 is last: under a compositor it shows XWayland windows only."""
    windows = _Windows(env.get("DISPLAY", ""))
    if env.get("SWAYSOCK"):
        return I3(env["SWAYSOCK"], "sway", windows)
    if env.get("HYPRLAND_INSTANCE_SIGNATURE") and env.get("XDG_RUNTIME_DIR"):
        name = env["HYPRLAND_INSTANCE_SIGNATURE"].replace("/", "")
        return Hyprland(Path(env["XDG_RUNTIME_DIR"], "hypr", name))
    if env.get("NIRI_SOCKET"):
        return Niri(env["NIRI_SOCKET"])
    desktops = env.get("XDG_CURRENT_DESKTOP", "").split(":")
    bus = env.get("DBUS_SESSION_BUS_ADDRESS")
    if "KDE" in desktops and bus:
        return KWin(bus)
    wayland = env.get("XDG_SESSION_TYPE") == "wayland"
    if "GNOME" in desktops and wayland and bus:
        return Gnome(bus, X11(env["DISPLAY"]) if env.get("DISPLAY") else None)
    if env.get("I3SOCK"):
        return I3(env["I3SOCK"], "i3", windows)
    if env.get("DISPLAY"):
        compositor = printable(desktops[0], 40) or "the compositor"
        return X11(env["DISPLAY"], compositor if wayland else "")
    return None


class _Windows:
    """A function from X window to pid, which connects at the first call and returns 0 without an X server."""

    def __init__(self, display: str) -> None:
        self._display = display
        self._server: Server | None = None

    def __call__(self, window: int) -> int:
        if not self._display:
            return 0
        try:
            if self._server is None:
                self._server = Server(self._display)
            return self._server.pid_of_window(window)
        except AgentError as err:
            log.warning("%s", err)
            self._server = None
            return 0

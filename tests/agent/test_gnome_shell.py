# SPDX-License-Identifier: GPL-2.0-or-later
"""GNOME Shell itself, without a screen: with the extension enabled, and windows that come and go."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from dbus_next.signature import Variant

from scx_gamer.agent import gnome
from scx_gamer.agent.desktop import focus_adapter
from scx_gamer.agent.focus_calls import AGENT
from scx_gamer.agent.gnome import EXTENSION, SHELL, WHY
from scx_gamer.agent.model import FOCUS, Adapter
from scx_gamer.dbus.userbus import UserBus
from tests.agent.support import Session, listening, session, until_ended
from tests.agent.test_gnome import SOURCE, owned
from tests.agent.test_wayland import CLIENT, strangers_are_refused
from tests.agent.test_x11 import a_window

INPUT, INPUT_PATH = "org.gnome.Mutter.RemoteDesktop", "/org/gnome/Mutter/RemoteDesktop"
LEFT_ALT, TAB = 56, 15  # linux/input-event-codes.h

pytestmark = [pytest.mark.programs("gnome-shell", "Xwayland"), pytest.mark.timeout(300)]


@contextmanager
def gnome_shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Session, str]]:
    """Yield a session with the shell as after a login, and its bus. The extension is installed and not enabled."""
    # Made at boot; without it the shell has no XWayland and ends.
    x_sockets = Path("/tmp/.X11-unix")
    if not x_sockets.exists():
        x_sockets.mkdir()
        x_sockets.chmod(0o1777)
    # Where systemd runs; else the shell cannot lock.
    Path("/run/systemd/seats").mkdir(parents=True, exist_ok=True)
    with session() as own:
        shutil.copytree(SOURCE, own.folder / "share/gnome-shell/extensions" / EXTENSION)
        address = own.bus()
        own.env |= {
            "DBUS_SESSION_BUS_ADDRESS": address,
            # the shell needs a system bus, and nobody there
            "DBUS_SYSTEM_BUS_ADDRESS": address,
            "GSETTINGS_BACKEND": "keyfile",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "WAYLAND_DISPLAY": "wl-gnome",
            "XDG_CURRENT_DESKTOP": "GNOME",
            "XDG_DATA_DIRS": f"{own.folder}/share:/usr/share",
            "XDG_SESSION_TYPE": "wayland",
        }
        manager = Path(__file__).with_name("gnome").joinpath("manager.js").read_text()
        own.start("gjs", "-m", str(own.write("manager.js", manager)))
        own.wait_for("its name", lambda: "owned" in (own.folder / "log").read_text())
        arguments = ("--headless", "--virtual-monitor", "1280x720", "--wayland-display", "wl-gnome")
        own.start("gnome-shell", *arguments)

        def said(pattern: str) -> re.Match[str]:
            log = own.folder / "log"
            found: re.Match[str] = own.wait_for(
                f"{pattern!r}", lambda: re.search(pattern, log.read_text(errors="replace"))
            )
            return found

        own.env["DISPLAY"] = said(r"public X11 display (:\d+)")[1]
        said("GNOME Shell started")
        (cookie,) = own.folder.glob(".mutter-Xwaylandauth.*")
        monkeypatch.setenv("XAUTHORITY", str(cookie))
        try:
            yield own, address
        except AssertionError:
            print((own.folder / "log").read_text(errors="replace"))
            raise


async def close_overview(address: str) -> None:
    """As Escape does. The shell begins with its overview, and no window that opens behind it has the focus."""
    async with UserBus(address) as bus:
        properties = (SHELL, "/org/gnome/Shell", "org.freedesktop.DBus.Properties")
        closed = [SHELL, "OverviewActive", Variant("b", False)]
        await bus.call(*properties, "Set", "ssv", closed)


@asynccontextmanager
async def keyboard(address: str) -> AsyncIterator[Callable[[int, bool], Awaitable[None]]]:
    """Yield a function that presses or releases a key, by the interface of remote desktops."""
    async with UserBus(address) as bus:
        path = await bus.call(INPUT, INPUT_PATH, INPUT, "CreateSession")
        keys = (INPUT, path, f"{INPUT}.Session")
        await bus.call(*keys, "Start")

        async def press(code: int, down: bool) -> None:
            await bus.call(*keys, "NotifyKeyboardKeycode", "ub", [code, down])

        yield press


async def extension(address: str, verb: str) -> None:
    """As gnome-extensions asks the shell, which alone may write its settings: two writers lose keys of a keyfile."""
    async with UserBus(address) as bus:
        extensions = (SHELL, "/org/gnome/Shell", f"{SHELL}.Extensions")
        assert await bus.call(*extensions, f"{verb}Extension", "s", [EXTENSION])


async def lock(address: str, locked: bool) -> None:
    """Lock the screen, or unlock it as after the password."""
    async with UserBus(address) as bus:
        screen = (f"{SHELL}.ScreenShield", "/org/gnome/ScreenSaver", "org.gnome.ScreenSaver")
        if locked:
            await bus.call(*screen, "Lock")
        else:
            await bus.call(*screen, "SetActive", "b", [False])


def adapter(own: Session) -> Adapter:
    chosen = focus_adapter(own.env)
    assert chosen is not None and chosen.name == "GNOME Shell"
    return chosen


def close(own: Session, pid: int) -> None:
    (window,) = (process for process in own.processes if process.pid == pid)
    own.processes.remove(window)
    window.terminate()
    window.wait(10)


def test_windows_of_wayland_and_of_xwayland(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        with gnome_shell(monkeypatch) as (own, address):
            await close_overview(address)
            await extension(address, "Enable")
            first = own.start(*CLIENT).pid
            async with listening(adapter(own)) as ear:
                await ear.until((FOCUS, first, True))
                second = own.start(*CLIENT).pid
                await ear.until((FOCUS, second, True))
                async with keyboard(address) as press:
                    for key in ((LEFT_ALT, True), (TAB, True), (TAB, False), (LEFT_ALT, False)):
                        await press(*key)
                    await ear.until((FOCUS, first, True))
                x11 = a_window(own, "third")
                await ear.until((FOCUS, x11, True))
                await strangers_are_refused(address)
                assert not ear.seen
                close(own, x11)
                await ear.until((FOCUS, first, True))
            async with listening(adapter(own)) as ear:  # an agent that is started again
                await ear.until((FOCUS, first, True))
                close(own, first)
                await ear.until((FOCUS, second, True))
                close(own, second)
                await ear.until((FOCUS, 0, True))
                assert ear.why == ""

    asyncio.run(scenario())


def test_enabled_and_disabled_while_windows_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gnome, "FIRST_S", 0.1)

    async def scenario() -> None:
        with gnome_shell(monkeypatch) as (own, address):
            await close_overview(address)
            x11 = a_window(own, "game")
            async with listening(adapter(own)) as ear:
                await ear.until((FOCUS, x11, True))
                assert ear.why == WHY  # what XWayland tells
                wayland = own.start(*CLIENT).pid
                await ear.until((FOCUS, 0, True))
                assert ear.why == WHY
                await extension(address, "Enable")
                await ear.until((FOCUS, wayland, True))
                assert ear.why == ""
                await extension(address, "Disable")
                await ear.until((FOCUS, 0, True))
                close(own, wayland)
                await extension(address, "Enable")
                await ear.until((FOCUS, x11, True))

    asyncio.run(scenario())


def test_a_locked_screen_takes_the_focus_until_it_is_unlocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        with gnome_shell(monkeypatch) as (own, address):
            await close_overview(address)
            await extension(address, "Enable")
            game = own.start(*CLIENT).pid
            async with listening(adapter(own)) as ear:
                await ear.until((FOCUS, game, True))
                await lock(address, True)
                await ear.until((FOCUS, 0, True))
                await lock(address, False)
                await ear.until((FOCUS, game, True))
                assert ear.why == ""
                await lock(address, True)
                await ear.until((FOCUS, 0, True))
            monkeypatch.setattr(gnome, "FIRST_S", 0.1)
            async with listening(adapter(own)) as ear:  # an agent that starts while it is locked
                await ear.until((FOCUS, 0, True))
                assert ear.why == WHY
                await lock(address, False)
                await ear.until((FOCUS, game, True))
                assert ear.why == ""

    asyncio.run(scenario())


def test_a_shell_that_ends_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        with gnome_shell(monkeypatch) as (own, address):
            waiting = asyncio.create_task(until_ended(adapter(own)))
            await owned(address, AGENT)
            own.processes[-1].kill()
            assert "GNOME Shell has ended" in await waiting
            own.processes.pop().wait(5)

    asyncio.run(scenario())

# SPDX-License-Identifier: GPL-2.0-or-later
"""Focus under real headless compositors: sway and KWin."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from scx_gamer.agent.desktop import Desktop
from scx_gamer.agent.focus_calls import AGENT, AGENT_PATH
from scx_gamer.agent.i3 import I3
from scx_gamer.agent.kwin import SCRIPT, KWin
from scx_gamer.agent.main import keep
from scx_gamer.agent.model import FOCUS
from scx_gamer.dbus.userbus import UserBus, UserBusError
from tests.agent.support import Ear, Session, listening, session, until_ended
from tests.processes import end

CLIENT = ("weston-flower",)  # a window, and nothing else


@contextmanager
def sway() -> Iterator[tuple[Session, str]]:
    """Yield a session with sway and the path of its socket."""
    with session() as own:
        own.env |= {
            "WLR_BACKENDS": "headless",
            "WLR_LIBINPUT_NO_DEVICES": "1",
            "WLR_RENDERER": "pixman",
        }
        config = own.write("sway.conf", "xwayland disable\n")
        own.start("sway", "-c", str(config))
        found: list[Path] = own.wait_for("sway", lambda: [*own.folder.glob("sway-ipc.*.sock")])
        own.wait_for("the display", (own.folder / "wayland-1").exists)
        own.env |= {"SWAYSOCK": str(found[0]), "WAYLAND_DISPLAY": "wayland-1"}
        yield own, str(found[0])


def swaymsg(own: Session, *command: str) -> None:
    process = own.start("swaymsg", *command)
    assert process.wait(20) == 0


def test_sway() -> None:
    async def scenario() -> None:
        with sway() as (own, path):
            first = own.start(*CLIENT)
            async with listening(I3(path, "sway", lambda _window: 0)) as ear:
                await ear.until((FOCUS, first.pid, True))
                second = own.start(*CLIENT)
                await ear.until((FOCUS, second.pid, True))
                swaymsg(own, "focus", "left")
                await ear.until((FOCUS, first.pid, True))
                swaymsg(own, "workspace", "9")  # empty
                await ear.until((FOCUS, 0, True))
                swaymsg(own, "workspace", "1")
                await ear.until((FOCUS, first.pid, True))
                first.terminate()
                await ear.until((FOCUS, second.pid, True))
                second.terminate()
                await ear.until((FOCUS, 0, True))
            for window in (first, second):
                own.processes.remove(window)
                window.wait(10)

    asyncio.run(scenario())


def test_agent_follows_a_sway_that_is_started_again() -> None:
    """As after a crash: another socket and other processes. The agent has the environment of its own start."""

    async def scenario() -> None:
        with sway() as (own, path):
            first = own.start(*CLIENT)
            ear = Ear()
            reporter = cast(Any, SimpleNamespace(report=ear.report))
            desktop = Desktop({"XDG_RUNTIME_DIR": str(own.folder), "SWAYSOCK": path})
            task = asyncio.create_task(keep(desktop, reporter))
            try:
                await ear.until((FOCUS, first.pid, True))
                own.processes[0].kill()
                await ear.until((FOCUS, 0, True))
                for process in own.processes:
                    end(process, 5)
                own.processes.clear()
                (own.folder / "wayland-1").unlink(missing_ok=True)
                own.start("sway", "-c", str(own.folder / "sway.conf"))
                own.wait_for("the display", lambda: len([*own.folder.glob("sway-ipc.*.sock")]) == 2)
                own.wait_for("the display", (own.folder / "wayland-1").exists)
                second = own.start(*CLIENT)
                await ear.until((FOCUS, second.pid, True))
            finally:
                task.cancel()

    asyncio.run(scenario())


def test_sway_that_ends_is_said() -> None:
    async def scenario() -> None:
        with sway() as (own, path):
            waiting = asyncio.create_task(until_ended(I3(path, "sway", lambda _window: 0)))
            await asyncio.sleep(0.5)
            own.processes[0].terminate()
            assert "sway has ended" in await waiting

    asyncio.run(scenario())


@contextmanager
def kwin() -> Iterator[tuple[Session, str]]:
    """Yield a session with KWin on a bus of its own, and the address of the bus."""
    with session() as own:
        address = own.bus()
        own.env |= {"DBUS_SESSION_BUS_ADDRESS": address, "KWIN_COMPOSE": "Q"}
        # a copy: the installed file has a capability that a container refuses to give
        binary = own.folder / "kwin_wayland"
        shutil.copyfile(shutil.which("kwin_wayland") or "kwin_wayland", binary)
        binary.chmod(0o755)
        arguments = ("--virtual", "--socket", "wl-kwin", "--no-lockscreen", "--no-global-shortcuts")
        own.start(str(binary), *arguments)
        own.wait_for("KWin", (own.folder / "wl-kwin").exists)
        own.env["WAYLAND_DISPLAY"] = "wl-kwin"
        yield own, address


def script_for(own: Session) -> Path:
    """Return a copy of the script that the session's user can read, wherever this checkout is."""
    return own.write("kwin.js", SCRIPT.read_text())


async def ready(address: str) -> None:
    """Wait until KWin accepts scripts, which is later than it owns its bus name."""
    async with UserBus(address) as bus, asyncio.timeout(30):
        while True:
            try:
                arguments = ("org.kde.KWin", "/Scripting", "org.kde.kwin.Scripting")
                await bus.call(*arguments, "isScriptLoaded", "s", ["x"])
                return
            except UserBusError:
                await asyncio.sleep(0.1)


def test_kwin() -> None:
    async def scenario() -> None:
        with kwin() as (own, address):
            await ready(address)
            first = own.start(*CLIENT)
            async with listening(KWin(address, script_for(own))) as ear:
                await ear.until((FOCUS, first.pid, True))
                second = own.start(*CLIENT)
                await ear.until((FOCUS, second.pid, True))
                await strangers_are_refused(address)
                assert not ear.seen
                second.terminate()
                await ear.until((FOCUS, first.pid, True))
            async with UserBus(address) as bus:  # the script is gone with us
                arguments = ("org.kde.KWin", "/Scripting", "org.kde.kwin.Scripting")
                loaded = await bus.call(*arguments, "isScriptLoaded", "s", ["scx-gamer-agent"])
                assert loaded is False
            own.processes.remove(second)
            second.wait(10)

    asyncio.run(scenario())


async def strangers_are_refused(address: str) -> None:
    async with UserBus(address) as stranger:
        try:
            await stranger.call(AGENT, AGENT_PATH, AGENT, "Focus", "i", [os.getpid()])
        except UserBusError as err:
            assert err.name.endswith("AccessDenied")
        else:
            raise AssertionError("a stranger's focus was taken")


def test_kwin_that_ends_is_said() -> None:
    async def scenario() -> None:
        with kwin() as (own, address):
            await ready(address)
            waiting = asyncio.create_task(until_ended(KWin(address, script_for(own))))
            await asyncio.sleep(1)
            own.processes[-1].kill()
            assert "KWin has ended" in await waiting
            own.processes.pop().wait(5)

    asyncio.run(scenario())


def test_no_kwin_is_said() -> None:
    async def scenario() -> None:
        with session() as own:
            assert "KWin is not on the session bus" in await until_ended(KWin(own.bus()))

    asyncio.run(scenario())

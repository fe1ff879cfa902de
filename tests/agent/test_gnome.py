# SPDX-License-Identifier: GPL-2.0-or-later
"""The extension, run by gjs on a real bus, and the adapter. GNOME Shell itself is in test_gnome_shell.py."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scx_gamer.agent import gnome
from scx_gamer.agent.focus_calls import AGENT, AGENT_PATH
from scx_gamer.agent.gnome import EXTENSION, SHELL, WHY, Gnome
from scx_gamer.agent.model import FOCUS, Report
from scx_gamer.dbus.userbus import UserBus, UserBusError
from tests.agent.support import Session, listening, session, until_ended
from tests.agent.test_wayland import strangers_are_refused

SOURCE = Path(__file__).resolve().parents[2] / "packaging/gnome-shell"
# Where the shell's own class is, and the part of it that an extension inherits here: nothing.
BASE = "resource:///org/gnome/shell/extensions/extension.js"

pytestmark = pytest.mark.programs("gjs")


class Shell:
    """gjs with the extension, which `enable` enables."""

    def __init__(self, own: Session) -> None:
        text = (SOURCE / "extension.js").read_text()
        assert text.count(BASE) == 1
        own.write("extension.js", text.replace(BASE, "./base.js"))
        own.write("base.js", "export class Extension {}\n")
        script = own.write(
            "shell.js", Path(__file__).with_name("gnome").joinpath("shell.js").read_text()
        )
        self.process = own.start("gjs", "-m", str(script), stdin=subprocess.PIPE)

    def say(self, line: str | int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.kill()


@contextmanager
def shell() -> Iterator[tuple[Session, str, Shell]]:
    with session() as own:
        address = own.bus()
        own.env["DBUS_SESSION_BUS_ADDRESS"] = address
        gjs = Shell(own)
        try:
            yield own, address, gjs
        finally:
            gjs.end()


async def owned(address: str, name: str = SHELL) -> None:
    async with UserBus(address) as bus, asyncio.timeout(30):
        while not await bus.owner(name):
            await asyncio.sleep(0.05)


def test_the_extension_reports_to_each_agent_and_to_nobody_else() -> None:
    async def scenario() -> None:
        with shell() as (_own, address, gjs):
            await owned(address)
            gjs.say(4711)
            gjs.say("enable")
            for _agent in range(2):
                async with listening(Gnome(address, None)) as ear:
                    await ear.until((FOCUS, 4711, True))
                    gjs.say(4712)
                    await ear.until((FOCUS, 4712, True))
                    gjs.say(4712)  # another window of the same process
                    await strangers_are_refused(address)
                    assert not ear.seen
                    gjs.say("none")
                    await ear.until((FOCUS, 0, True))
                    assert ear.why == ""
                    gjs.say(-1)  # a window whose client has no pid
                    gjs.say(4711)
                    await ear.until((FOCUS, 4711, True))
                    gjs.say("disable")
                    await ear.until((FOCUS, 0, True))
                    gjs.say("enable")
                    await ear.until((FOCUS, 4711, True))
            gjs.say("disable")
            waiting = asyncio.create_task(until_ended(Gnome(address, None)))
            await owned(address, AGENT)
            gjs.end()
            assert "GNOME Shell has ended" in await waiting

    asyncio.run(scenario())


class XWayland:
    """Knows a window and stays."""

    name = "X11"

    def __init__(self) -> None:
        self.ended = False

    async def run(self, report: Report) -> None:
        report(FOCUS, 99, True)
        try:
            await asyncio.sleep(60)
        finally:
            self.ended = True


def test_without_the_extension_it_says_why_until_the_extension_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gnome, "FIRST_S", 0.1)

    async def scenario() -> None:
        with shell() as (_own, address, gjs):
            await owned(address)
            async with listening(Gnome(address, None)) as ear:
                await ear.until((FOCUS, 0, True))
                assert ear.why == WHY
            instead = XWayland()
            async with listening(Gnome(address, instead)) as ear:
                await ear.until((FOCUS, 99, True))
                assert ear.why == WHY and EXTENSION in WHY
                gjs.say(4711)
                gjs.say("enable")
                await ear.until((FOCUS, 4711, True))
                assert ear.why == "" and instead.ended

    asyncio.run(scenario())


def test_no_shell_is_said() -> None:
    async def scenario() -> None:
        with session() as own:
            said = await until_ended(Gnome(own.bus(), None))
            assert "GNOME Shell is not on the session bus" in said

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "body", [("s", ["7"]), ("t", [1 << 40]), ("d", [float("inf")]), ("b", [True])]
)
def test_a_shell_that_reports_nonsense_has_no_focus(body: tuple[str, list[object]]) -> None:
    async def scenario() -> None:
        with session() as own:
            address = own.bus()
            async with UserBus(address) as fake:
                assert await fake.request_name(SHELL)
                async with listening(Gnome(address, None)) as ear:
                    async with asyncio.timeout(30):
                        while not (agent := await fake.owner(AGENT)):
                            await asyncio.sleep(0.05)
                    await fake.call(agent, AGENT_PATH, AGENT, "Focus", *body)
                    await ear.until((FOCUS, 0, True))
                    with pytest.raises(UserBusError):
                        await fake.call(agent, AGENT_PATH, AGENT, "Focus", "uu", [1, 2])

    asyncio.run(scenario())


def test_the_metadata_names_the_extension() -> None:
    assert json.loads((SOURCE / "metadata.json").read_text())["uuid"] == EXTENSION

# SPDX-License-Identifier: GPL-2.0-or-later
"""The notification of a supervisor in fallback: over two real buses, to a server that records it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

from scx_gamer.agent import notice
from scx_gamer.agent.main import NOTICES, adapters
from scx_gamer.agent.notice import Notice, SessionNotice
from scx_gamer.cli import main as cli_main
from scx_gamer.dbus import BUS_NAME, ERROR_PREFIX, INTERFACE, OBJECT_PATH
from tests.agent.support import listening, session, until_ended

_PROPERTIES = "org.freedesktop.DBus.Properties"
REASON = "runnable task <stall>\x1b[31m"


class Supervisor:
    """A fake supervisor: the real one's properties on a bus."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self.values = {
            "State": Variant("s", "attached"),
            "LastExit": Variant("(sis)", ["error", 1024, REASON]),
        }
        bus.add_message_handler(self._on_message)

    def _on_message(self, message: Message) -> Any:
        if message.message_type != MessageType.METHOD_CALL or message.member != "Get":
            return None
        return Message.new_method_return(message, "v", [self.values[message.body[1]]])

    def tell(self, state: str, to: Any = None) -> None:
        changed = {"State": Variant("s", state)}
        signal = Message(
            destination=to,
            path=OBJECT_PATH,
            interface=_PROPERTIES,
            member="PropertiesChanged",
            signature="sa{sv}as",
            body=[INTERFACE, changed, []],
            message_type=MessageType.SIGNAL,
        )
        self.bus.send(signal)

    def become(self, state: str) -> None:
        self.values["State"] = Variant("s", state)
        self.tell(state)


class Screen:
    """A notification server."""

    def __init__(self, bus: MessageBus) -> None:
        self.shown: dict[int, list[Any]] = {}
        self.ever = 0
        bus.add_message_handler(self._on_message)

    def _on_message(self, message: Message) -> Any:
        if message.message_type != MessageType.METHOD_CALL or message.path != notice._SERVER_PATH:
            return None
        if message.member == "CloseNotification":
            self.shown.pop(message.body[0])
            return Message.new_method_return(message)
        self.ever += 1
        self.shown[self.ever] = message.body
        return Message.new_method_return(message, "u", [self.ever])

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.shown) != count:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def connected(address: str, name: str) -> AsyncIterator[Any]:
    bus: Any = await MessageBus(bus_address=address).connect()
    try:
        await bus.request_name(name)
        yield bus
    finally:
        bus.disconnect()
        await asyncio.wait([asyncio.ensure_future(bus.wait_for_disconnect())], timeout=5)
        bus._sock.close()  # dbus-next may leave it open


@asynccontextmanager
async def world() -> AsyncIterator[tuple[str, str, Screen]]:
    """Yield the addresses of a session and a system bus, and the server on the first."""
    with session() as own, session() as machine:
        desktop, system = own.bus(), machine.bus()
        async with connected(desktop, notice._SERVER) as bus:
            yield desktop, system, Screen(bus)


def test_one_notification_while_it_has_given_up() -> None:
    async def scenario() -> None:
        async with world() as (desktop, system, screen), listening(Notice(desktop, system)):
            await asyncio.sleep(0.3)  # nobody is there: nothing is said
            async with connected(system, BUS_NAME) as bus:
                supervisor = Supervisor(bus)
                supervisor.become("backoff")
                await asyncio.sleep(1.0)
                assert not screen.shown
                supervisor.become("fallback")
                await screen.until(1)
                supervisor.become("fallback")  # said once
                await asyncio.sleep(1.0)
                assert screen.ever == 1
                (body,) = screen.shown.values()
                assert body[3] == "Games run without scx-gamer"
                assert "error: runnable task &lt;stall&gt;\\x1b[31m" in body[4]
                assert "scx-gamer start" in body[4]
                supervisor.become("idle")
                await screen.until(0)
                supervisor.become("fallback")
                await screen.until(1)
            await screen.until(0)  # the supervisor ended

    asyncio.run(scenario())


def test_a_signal_of_a_stranger_shows_nothing() -> None:
    async def scenario() -> None:
        async with (
            world() as (desktop, system, screen),
            connected(system, BUS_NAME) as real,
            connected(system, "org.example.Liar") as stranger,
            listening(Notice(desktop, system)),
        ):
            supervisor, liar = Supervisor(real), Supervisor(stranger)
            await asyncio.sleep(0.5)
            who = Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="ListNames",
            )
            for name in (await stranger.call(who)).body[0]:
                if name.startswith(":"):
                    liar.tell("fallback", name)
            await asyncio.sleep(1.2)
            assert not screen.ever
            supervisor.become("fallback")  # and it still listens
            await screen.until(1)

    asyncio.run(scenario())


def test_a_desktop_without_notifications_is_said() -> None:
    async def scenario() -> None:
        with session() as own, session() as machine:
            desktop, system = own.bus(), machine.bus()
            async with connected(system, BUS_NAME) as bus:
                supervisor = Supervisor(bus)
                supervisor.become("fallback")
                assert "Notify" in await until_ended(Notice(desktop, system))

    asyncio.run(scenario())


class Games(Supervisor):
    """A supervisor with games and sessions."""

    def __init__(self, bus: MessageBus) -> None:
        super().__init__(bus)
        self.values |= {
            "State": Variant("s", "idle"),
            "ActiveGame": Variant("u", 0),
            "LastSession": Variant("t", 6),
        }

    def _on_message(self, message: Message) -> Any:
        if message.message_type == MessageType.METHOD_CALL and message.member == "Session":
            if message.body[0] == 8:
                return Message.new_error(message, f"{ERROR_PREFIX}Failed", "no session 8 of yours")
            return Message.new_method_return(message, "s", [json.dumps(RECORD)])
        return super()._on_message(message)

    def play(self, pid: int, session: int) -> None:
        self.values["ActiveGame"] = Variant("u", pid)
        self.values["LastSession"] = Variant("t", session)
        self.become("attached" if pid else "idle")


RECORD = {
    "id": 7, "game": "Doom <b>\x1b[31m", "duration_s": 600.0, "attached_s": 590.0, "held_back": ["fossilize_replay"],
    "waits": {"game": {"count": 10, "mean_us": 30.0, "longest_us": 90.0, "histogram": [0, 0, 0, 0, 0, 0, 10]}},
    "frames": None,
}  # fmt: skip


def test_one_line_at_the_start_of_a_game_and_one_sentence_at_its_end() -> None:
    async def scenario() -> None:
        async with world() as (desktop, system, screen):
            notices = SessionNotice(desktop, system, at_start=True, at_end=True)
            async with listening(notices), connected(system, BUS_NAME) as bus:
                supervisor = Games(bus)
                await asyncio.sleep(1.0)
                supervisor.play(1 << 22, 6)  # no process of this user
                await asyncio.sleep(1.0)
                assert not screen.shown
                supervisor.play(os.getpid(), 6)
                await screen.until(1)
                assert screen.shown[1][3] == "scx-gamer is on"
                supervisor.become("attached")
                await asyncio.sleep(1.0)
                assert screen.ever == 1
                supervisor.play(0, 7)
                await screen.until(2)
                assert screen.shown[2][4] == (
                    "Doom &lt;b&gt;\\x1b[31m, 10 min: 99 % of waits for a CPU at most 64 us, the longest 90 us;"
                    " held back: fossilize_replay\nscx-gamer sessions show 7"
                )
                supervisor.play(0, 8)  # another user's
                await asyncio.sleep(1.0)
                assert screen.ever == 2

    asyncio.run(scenario())


def test_both_can_be_switched_off() -> None:
    env = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/none"}
    found = {
        choice: [
            (one._at_start, one._at_end)
            for one in adapters(env, choice)
            if isinstance(one, SessionNotice)
        ]
        for choice in NOTICES
    }
    assert found == {
        "all": [(True, True)],
        "start": [(True, False)],
        "end": [(False, True)],
        "none": [],
    }
    assert cli_main(["agent", "--notices", "loud"]) == 2

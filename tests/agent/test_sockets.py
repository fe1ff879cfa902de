# SPDX-License-Identifier: GPL-2.0-or-later
"""Hyprland and niri: fake servers of their protocols on real sockets. The reporter: with a real control server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.agent.desktop import Desktop, focus_adapter, present
from scx_gamer.agent.hyprland import Hyprland
from scx_gamer.agent.i3 import I3, focused
from scx_gamer.agent.main import adapters
from scx_gamer.agent.model import FOCUS, GAMEMODE, AgentError
from scx_gamer.agent.niri import Niri
from scx_gamer.agent.reporter import Reporter
from tests.agent.support import listening, until_ended


class Fake:
    """The server side of a socket: the received lines, and a writer."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []
        self.answer = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        if self.answer:
            await reader.read(4096)
            writer.write(self.answer)
            writer.close()
            return
        while data := await reader.read(4096):
            self.received.put_nowait(data)

    def say(self, text: str) -> None:
        self.writers[-1].write(text.encode())


@asynccontextmanager
async def at(path: Path) -> AsyncIterator[Fake]:
    fake = Fake()
    server = await asyncio.start_unix_server(fake.serve, str(path))
    try:
        yield fake
    finally:
        server.close()
        for writer in fake.writers:
            writer.close()
        await asyncio.sleep(0)


def test_hyprland(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at(tmp_path / ".socket2.sock") as events, at(tmp_path / ".socket.sock") as asked:
            asked.answer = b'{"address": "0x1", "pid": 41, "title": "a"}'
            async with listening(Hyprland(tmp_path)) as ear:
                await ear.until((FOCUS, 41, True))
                asked.answer = b'{"pid": 42}'
                events.say("workspace>>2\nactivewindow>>foot,>>x\nactivewindowv2>>5f3c\n")
                await ear.until((FOCUS, 42, True))
                asked.answer = b"{}"  # nothing is focused
                events.say("activewindowv2>>\n")
                await ear.until((FOCUS, 0, True))
                asked.answer = b'{"pid": -1}'
                events.say("closewindow>>5f3c\n")
                await ear.until((FOCUS, 0, True))

    asyncio.run(scenario())


def test_hyprland_that_ends_or_talks_rubbish(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at(tmp_path / ".socket2.sock") as events, at(tmp_path / ".socket.sock") as asked:
            asked.answer = b"unknown request"
            assert "not JSON" in await until_ended(Hyprland(tmp_path))
            asked.answer = b'{"pid": 1}'
            waiting = asyncio.create_task(until_ended(Hyprland(tmp_path)))
            await asyncio.sleep(0.2)
            for writer in events.writers:
                writer.close()
            assert "Hyprland has ended" in await waiting
        assert "cannot connect" in await until_ended(Hyprland(tmp_path / "none"))

    asyncio.run(scenario())


def window(number: int, pid: int | None, focused: bool = False) -> dict[str, object]:
    return {
        "id": number,
        "title": "t",
        "app_id": "a",
        "pid": pid,
        "workspace_id": 1,
        "is_focused": focused,
    }


def test_niri(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "niri"
        async with at(path) as niri:

            def say(event: object) -> None:
                niri.say(json.dumps(event) + "\n")

            async with listening(Niri(str(path))) as ear:
                assert await niri.received.get() == b'"EventStream"\n'
                say({"Ok": "Handled"})
                say({"WorkspacesChanged": {"workspaces": []}})
                say({"WindowsChanged": {"windows": [window(1, 11), window(2, 12, focused=True)]}})
                await ear.until((FOCUS, 12, True))
                say({"WindowFocusChanged": {"id": 1}})
                await ear.until((FOCUS, 11, True))
                say({"WindowOpenedOrChanged": {"window": window(3, 13, focused=True)}})
                await ear.until((FOCUS, 13, True))
                say({"WindowClosed": {"id": 3}})
                await ear.until((FOCUS, 0, True))
                say({"WindowFocusChanged": {"id": None}})
                await ear.until((FOCUS, 0, True))
                say({"SomethingNew": {"x": 1}})
                say({"WindowFocusChanged": {"id": 2}})
                await ear.until((FOCUS, 12, True))

    asyncio.run(scenario())


def test_an_old_niri_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at(tmp_path / "niri") as niri:
            waiting = asyncio.create_task(until_ended(Niri(str(tmp_path / "niri"))))
            await niri.received.get()
            niri.say('{"Err": "error parsing request"}\n')
            assert "no event stream" in await waiting

    asyncio.run(scenario())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "pid",
                    "window",
                    "windows",
                    "focus",
                    "nodes",
                    "floating_nodes",
                    "type",
                    "is_focused",
                    "WindowsChanged",
                    "WindowOpenedOrChanged",
                    "WindowClosed",
                    "WindowFocusChanged",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_JSON, max_size=5))
def test_no_message_breaks_an_adapter(messages: list[object]) -> None:
    niri, i3 = Niri(""), I3("", "i3", lambda _window: 0)
    for message in messages:
        if isinstance(message, dict):
            niri.apply(message)
            assert 0 <= i3._pid(message) < 1 << 31
        focused(message)


def test_who_is_asked_in_which_session() -> None:
    bus = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}

    def name(**env: str) -> str:
        adapter = focus_adapter(env)
        return adapter.name if adapter else ""

    assert name(SWAYSOCK="/s", DISPLAY=":0", **bus) == "sway"
    assert name(HYPRLAND_INSTANCE_SIGNATURE="x", XDG_RUNTIME_DIR="/r", DISPLAY=":0") == "Hyprland"
    assert name(NIRI_SOCKET="/n") == "niri"
    assert name(XDG_CURRENT_DESKTOP="KDE", DISPLAY=":0", **bus) == "KWin"
    gnome = {"XDG_CURRENT_DESKTOP": "ubuntu:GNOME", "DISPLAY": ":0"}
    assert name(**gnome, XDG_SESSION_TYPE="wayland", **bus) == "GNOME Shell"
    assert name(**gnome, XDG_SESSION_TYPE="x11", **bus) == name(**gnome) == "X11"
    assert name(I3SOCK="/i", DISPLAY=":0") == "i3"
    assert name(DISPLAY=":0") == "X11"
    assert name() == name(XDG_CURRENT_DESKTOP="KDE") == ""
    assert [one.name for one in adapters({"DISPLAY": ":0", **bus})] == [
        "desktop",
        "GameMode",
        "notices",
        "session notices",
    ]
    assert [one.name for one in adapters({"NIRI_SOCKET": "/n", "HOME": "/h"})] == [
        "desktop",
        "overlay line",
    ]
    assert adapters({}) == []


def test_sockets_that_answer_are_found_whatever_the_environment_says(tmp_path: Path) -> None:
    """Pass over the socket of a killed compositor, and names that cannot be paths."""

    async def scenario() -> None:
        (tmp_path / "hypr/abc_1").mkdir(parents=True)
        runtime = {"XDG_RUNTIME_DIR": str(tmp_path)}
        dead = tmp_path / "sway-ipc.0.1.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(dead))  # and closed without being removed
        assert present({**runtime, "SWAYSOCK": str(dead), "NIRI_SOCKET": "x" * 200}) == runtime
        assert present({"I3SOCK": "a\0b"}) == {}
        async with (
            at(tmp_path / "sway-ipc.0.2.sock"),
            at(tmp_path / "hypr/abc_1/.socket2.sock"),
        ):
            assert present({**runtime, "SWAYSOCK": str(dead)}) == {
                **runtime,
                "SWAYSOCK": str(tmp_path / "sway-ipc.0.2.sock"),
                "HYPRLAND_INSTANCE_SIGNATURE": "abc_1",
            }
            given = {**runtime, "HYPRLAND_INSTANCE_SIGNATURE": "abc_1/"}
            assert present(given)["HYPRLAND_INSTANCE_SIGNATURE"] == "abc_1"

    asyncio.run(scenario())


def test_desktop_is_chosen_again_when_it_ends(tmp_path: Path) -> None:
    """First none, then niri, then niri at another path, then Hyprland: one after the other, all reported."""
    desktop = Desktop({"XDG_RUNTIME_DIR": str(tmp_path)})
    window = '{"WindowsChanged": {"windows": [{"id": 1, "pid": %d, "is_focused": true}]}}\n'

    async def scenario() -> None:
        assert "none that tells the focus" in await until_ended(desktop)
        for pid, name in ((41, "niri.wayland-1.7.sock"), (42, "niri.wayland-1.8.sock")):
            async with at(tmp_path / name) as niri, listening(desktop) as ear:
                async with asyncio.timeout(10):
                    await niri.received.get()
                niri.say('{"Ok": "Handled"}\n' + window % pid)
                await ear.until((FOCUS, pid, True))
                assert desktop.name == "niri"
        folder = tmp_path / "hypr/sig"
        folder.mkdir(parents=True)
        async with at(folder / ".socket2.sock"), at(folder / ".socket.sock") as asked:
            asked.answer = b'{"pid": 43}'
            async with listening(desktop) as ear:
                await ear.until((FOCUS, 43, True))
                assert desktop.name == "Hyprland"

    asyncio.run(scenario())


class Supervisor:
    """A fake supervisor that accepts hints as the real one does: one line each way."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, int, bool]] = []
        self.why = ""
        self.more = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hint = json.loads(await reader.readline())
        assert hint["op"] == "hint" and hint["time_ns"] > 0
        self.hints.append((hint["kind"], hint["pid"], hint["active"]))
        self.why = hint.get("why", "")
        writer.write(b'{"ok": true, "result": {"used": true}}\n')
        writer.close()
        self.more.set()

    async def until(self, *wanted: tuple[str, int, bool]) -> None:
        async with asyncio.timeout(15):
            while self.hints != list(wanted):
                self.more.clear()
                await self.more.wait()
        self.hints.clear()


def test_the_reporter_tells_the_last_word_and_tells_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scx_gamer.agent.reporter.RETRY_S", 0.2)
    monkeypatch.setattr("scx_gamer.agent.reporter.AGAIN_S", 1.0)

    async def scenario() -> None:
        path = tmp_path / "hints.sock"
        reporter = Reporter(path)
        running = asyncio.create_task(reporter.run())
        try:
            for pid in range(100):
                reporter.report(FOCUS, pid, True)
            reporter.report(GAMEMODE, 7, True)
            await asyncio.sleep(0.3)  # nobody is there
            supervisor = Supervisor()
            server = await asyncio.start_unix_server(supervisor.serve, str(path))
            await supervisor.until((GAMEMODE, 7, True), (FOCUS, 99, True))
            reporter.report(FOCUS, 5, True)
            reporter.report(GAMEMODE, 7, False)
            await supervisor.until((GAMEMODE, 7, False), (FOCUS, 5, True))
            await supervisor.until((FOCUS, 5, True))  # once more, and only what still is
            assert supervisor.why == ""
            reporter.report(FOCUS, 5, True, "in part")
            await supervisor.until((FOCUS, 5, True))
            assert supervisor.why == "in part"
            server.close()
        finally:
            running.cancel()

    asyncio.run(scenario())


def test_a_compositor_without_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at(tmp_path / "i3") as fake:
            waiting = asyncio.create_task(until_ended(I3(str(tmp_path / "i3"), "i3", lambda _w: 0)))
            await fake.received.get()
            fake.writers[-1].write(b"i3-ipc\xff\xff\xff\x7f\x00\x00\x00\x00")
            assert "does not speak i3's protocol" in await waiting

    asyncio.run(scenario())
    with pytest.raises(AgentError):
        raise AgentError("x")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Focus under a real X server: openbox, i3, and what gamescope writes on its root window."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from Xlib import Xatom, display

from scx_gamer.agent.desktop import Desktop
from scx_gamer.agent.i3 import I3
from scx_gamer.agent.model import FOCUS, AgentError
from scx_gamer.agent.x11 import X11, Server
from tests.agent.support import Session, listening, session, until_ended

WINDOW = Path(__file__).with_name("window.py")


@contextmanager
def x_server() -> Iterator[tuple[Session, str]]:
    """Xvfb on a display it chose itself."""
    with session() as own:
        read, write = os.pipe()
        # the number is written when the server takes clients
        with open(own.folder / "log", "ab") as log:
            import subprocess

            server = subprocess.Popen(
                ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"],
                pass_fds=[write], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        own.processes.append(server)
        os.close(write)
        with os.fdopen(read) as file:
            name = f":{int(file.readline())}"
        own.env["DISPLAY"] = name
        yield own, name


@contextmanager
def openbox() -> Iterator[tuple[Session, str]]:
    """An X server whose openbox has looked for windows: it gives no focus to those that were there before it."""
    with x_server() as (own, name):
        ready = own.folder / "ready"
        own.start("openbox", "--startup", f"touch {ready}")
        own.wait_for("openbox", ready.exists)
        yield own, name


def a_window(own: Session, name: str) -> int:
    """Process of a new window. It runs as we do: the tree may not be readable to others."""
    import subprocess

    process = subprocess.Popen([sys.executable, str(WINDOW), own.env["DISPLAY"], name])
    own.processes.append(process)
    return process.pid


def activate(own: Session, wanted: str) -> None:
    """As a taskbar does it, once the window manager lists the window."""
    from Xlib.protocol import event

    connection = display.Display(own.env["DISPLAY"])
    root = connection.screen().root
    clients = connection.intern_atom("_NET_CLIENT_LIST")

    def find_window() -> Any:
        listed = root.get_full_property(clients, Xatom.WINDOW)
        windows = [connection.create_resource_object("window", n) for n in listed.value]
        return next((w for w in windows if w.get_wm_name() == wanted), None)

    message = event.ClientMessage(
        window=own.wait_for(f"window {wanted}", find_window),
        client_type=connection.intern_atom("_NET_ACTIVE_WINDOW"),
        data=(32, [2, 0, 0, 0, 0]),
    )
    root.send_event(message, event_mask=0x180000)
    connection.sync()
    connection.close()


def test_openbox() -> None:
    async def scenario() -> None:
        with openbox() as (own, name):
            async with listening(X11(name)) as ear:
                await ear.until((FOCUS, 0, True))
                first = a_window(own, "first")
                await ear.until((FOCUS, first, True))
                assert not ear.why
                second = a_window(own, "second")
                activate(own, "second")  # openbox may have left the focus with the first
                await ear.until((FOCUS, second, True))
                activate(own, "first")
                await ear.until((FOCUS, first, True))
                own.processes[-2].kill()
                own.processes.pop(-2).wait()
                await ear.until((FOCUS, second, True))

    asyncio.run(scenario())


def test_i3_by_its_socket_and_the_x_server() -> None:
    async def scenario() -> None:
        with x_server() as (own, name):
            path = own.folder / "i3.sock"
            config = own.write("i3.conf", f"# i3 config file (v4)\nfont fixed\nipc-socket {path}\n")
            own.start("i3", "-c", str(config))
            own.wait_for("i3", path.exists)
            server = Server(name)
            try:
                async with listening(I3(str(path), "i3", server.pid_of_window)) as ear:
                    first = a_window(own, "first")
                    await ear.until((FOCUS, first, True))
                    second = a_window(own, "second")
                    await ear.until((FOCUS, second, True))
                    activate(own, "first")
                    await ear.until((FOCUS, first, True))
            finally:
                server.close()

    asyncio.run(scenario())


def child_of(root: Any, name: str) -> int:
    """Return the window of that name, 0 while there is none."""
    return next((int(w.id) for w in root.query_tree().children if w.get_wm_name() == name), 0)


def test_gamescopes_root_window() -> None:
    """gamescope itself wants a GPU; its property and the X server are the real ones."""

    async def scenario() -> None:
        with x_server() as (own, name):
            connection = display.Display(name)
            root, atom = (
                connection.screen().root,
                connection.intern_atom("GAMESCOPE_FOCUSED_WINDOW"),
            )

            def focus(*windows: int) -> None:
                root.change_property(atom, Xatom.CARDINAL, 32, list(windows))
                connection.sync()

            focus()
            adapter = X11(name, "the compositor")
            async with listening(adapter) as ear:
                await ear.until((FOCUS, 0, True))
                assert (adapter.name, ear.why) == ("gamescope", "")
                pid = a_window(own, "game")
                window = own.wait_for("the game's window", lambda: child_of(root, "game"))
                focus(window)
                await ear.until((FOCUS, pid, True))
                own.processes[-1].kill()
                own.processes.pop().wait()
                focus(window, 0)  # a window that is gone
                await ear.until((FOCUS, 0, True))
            connection.close()

    asyncio.run(scenario())


def test_a_window_of_the_window_manager_itself_is_no_focus() -> None:
    """As Mutter has it in XWayland while a window of Wayland has the focus (test_gnome_shell.py)."""

    async def scenario() -> None:
        with x_server() as (own, name):
            connection = display.Display(name)
            root = connection.screen().root
            check, nobody = (
                root.create_window(-100, -100, 1, 1, 0, root.get_geometry().depth) for _ in range(2)
            )

            def write(name: str, window: int) -> None:
                root.change_property(connection.intern_atom(name), Xatom.WINDOW, 32, [window])
                connection.sync()

            write("_NET_SUPPORTING_WM_CHECK", check.id)
            async with listening(X11(name)) as ear:
                pid = a_window(own, "game")
                window = own.wait_for("the game's window", lambda: child_of(root, "game"))
                write("_NET_ACTIVE_WINDOW", window)
                await ear.until((FOCUS, pid, True))
                write("_NET_ACTIVE_WINDOW", nobody.id)
                await ear.until((FOCUS, 0, True))
            connection.close()

    asyncio.run(scenario())


def test_the_windows_of_a_compositor_without_an_adapter_are_said_to_be_unseen() -> None:
    """COSMIC's zcosmic_toplevel_info_v1 has title, application and state of a window, and no process."""

    async def scenario() -> None:
        with x_server() as (_own, name):
            env = {"DISPLAY": name, "XDG_CURRENT_DESKTOP": "COSMIC", "XDG_SESSION_TYPE": "wayland"}
            async with listening(Desktop(env)) as ear:
                await ear.until((FOCUS, 0, True))
                assert (
                    "COSMIC tells no program" in ear.why and "only windows of XWayland" in ear.why
                )

    asyncio.run(scenario())


def test_a_server_that_ends_is_said() -> None:
    async def scenario() -> None:
        with openbox() as (own, name):
            waiting = asyncio.create_task(until_ended(X11(name)))
            await asyncio.sleep(1)
            own.processes[0].kill()
            assert "X server has ended" in await waiting
            own.processes.pop(0).wait(5)
            own.processes.pop(0).wait(5)

    asyncio.run(scenario())


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # python-xlib's own sockets
def test_no_server_is_one_line() -> None:
    try:
        Server(":4711")
    except AgentError as err:
        assert "no X server at :4711" in str(err) and "\n" not in str(err)
    else:
        raise AssertionError("there is an X server :4711")

# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's connection: on Pythons whose typing has lost what dbus-next 0.2.3 imports, and its end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

from scx_gamer.dbus.userbus import UserBus
from tests.unit.dbus.conftest import Daemon

TREE = Path(__file__).resolve().parents[3]
# What the agent does on a session bus: ask who has a name, take a name, serve an object, be called.
PROGRAM = """
import asyncio, sys, typing
if hasattr(typing, "no_type_check_decorator"):
    del typing.no_type_check_decorator
from scx_gamer.dbus.userbus import UserBus

async def scenario(address):
    async with UserBus(address) as bus, UserBus(address) as other:
        bus.on_call("/a", "a.b", lambda sender, member, values: (member, values) == ("M", [7]))
        taken, seen = await bus.request_name("a.b"), bool(await other.owner("a.b"))
        print(taken, seen, await other.call("a.b", "/a", "a.b", "M", "u", [7]))
    print(hasattr(typing, "no_type_check_decorator"))

asyncio.run(scenario(sys.argv[1]))
"""


def test_the_agents_bus_works_on_python_3_15(bus: Daemon) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"unix:path={bus.path}"],
        capture_output=True, text=True, cwd=TREE, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["True True None", "False"], done.stderr


def test_its_end_closes_its_descriptor(bus: Daemon) -> None:
    """Without a pass of the garbage collector, for which dbus-next would leave it."""

    async def scenario() -> None:
        async with UserBus(f"unix:path={bus.path}"):
            pass

    asyncio.run(scenario())  # imports, which open files
    gc.disable()
    try:
        before = os.listdir("/proc/self/fd")
        asyncio.run(scenario())
        assert os.listdir("/proc/self/fd") == before
    finally:
        gc.enable()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The service on a real bus, with polkit's word, and the scheduler it moves."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from scx_gamer import control
from scx_gamer.dbus import BUS_NAME, OBJECT_PATH, old_name
from scx_gamer.dbus.client import BusClient
from tests.vm.bus.conftest import ASK_S, MANAGER, PLAYER, STRANGER, System, owned
from tests.vm.bus.service import prop, service
from tests.vm.harness import kernel_state, wait_until

pytestmark = pytest.mark.timeout(600)  # the first one installs everything


def as_user(user: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of an ordinary user, as that user."""
    return subprocess.run(
        ["runuser", "-u", user, "--", *command],
        capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip


@pytest.fixture(scope="module")
def always() -> Iterator[None]:
    with service("always"):
        yield


def test_root_moves_the_scheduler_and_signals_tell(always: None) -> None:
    with BusClient(180) as listener, BusClient(180) as client:
        bus = "org.freedesktop.DBus"
        rule = f"type='signal',sender='{BUS_NAME}'"
        listener.call(
            "AddMatch", "s", [rule], interface=bus, destination=bus, path="/org/freedesktop/DBus"
        )
        assert prop("State") == "attached"
        client.call("Stop")
        assert kernel_state() == "disabled" and prop("State") == "off"
        seen: list[str] = []
        while "off" not in seen:
            message = listener.receive()
            if message.member == "PropertiesChanged":
                seen += [v.value for n, v in message.body[1].items() if n == "State"]
        client.call("Start", "s", [""])
        wait_until("the scheduler", lambda: kernel_state() == "enabled", 90)
        profiles = {row[0] for row in client.call("ListProfiles")[0]}
        assert {"auto", "gaming", "lowlatency", "powersave", "server"} <= profiles


def test_the_command_of_a_user_goes_over_the_bus(always: None) -> None:
    before = control.request("status")["bus"]["calls"]["answered"]
    done = as_user(STRANGER, "scx-gamer", "status", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["state"] == "attached", done.stderr
    assert control.request("status")["bus"]["calls"]["answered"] > before


def test_ordinary_user_reads_and_changes_nothing(always: None) -> None:
    done = as_user(STRANGER, "scx-gamer", "status", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["state"] == "attached", done.stderr
    for command in (("stop",), ("restart",), ("profiles", "set", "gaming"), ("games", "add", "1")):
        done = as_user(STRANGER, "scx-gamer", *command)
        assert done.returncode == 77 and len(done.stderr.splitlines()) == 1, (command, done)
        assert "Traceback" not in done.stderr
    assert kernel_state() == "enabled" and prop("ActiveProfile") == "auto"


def test_nobody_else_can_take_the_name(always: None) -> None:
    for name in (BUS_NAME, old_name(BUS_NAME)):
        program = (
            "from scx_gamer.dbus.client import BusClient\n"
            "b = 'org.freedesktop.DBus'\n"
            f"BusClient().call('RequestName', 'su', ['{name}', 2], interface=b, destination=b, path='/')\n"
        )
        done = as_user(STRANGER, "/usr/bin/python3", "-c", program)
        assert done.returncode != 0 and "not allowed to own" in done.stderr, done.stderr


def test_the_deprecated_names_answer_a_user(always: None) -> None:
    """Through the bus's policy and polkit's word, as the present ones do; another interface is refused by the bus."""
    name, path = old_name(BUS_NAME), old_name(OBJECT_PATH)

    def call(member: str, interface: str, *args: str) -> subprocess.CompletedProcess[str]:
        return as_user(STRANGER, "busctl", "call", name, path, interface, member, *args)

    done = call("Query", name, "s", "status")
    assert done.returncode == 0 and "attached" in done.stdout, done
    done = call("Get", "org.freedesktop.DBus.Properties", "ss", name, "State")
    assert done.stdout == 'v s "attached"\n', done
    for refused in (call("Stop", name), call("Query", f"{name}.Other", "s", "status")):
        assert refused.returncode != 0 and "Access denied" in refused.stderr, refused
    assert kernel_state() == "enabled"


def test_polkit_has_the_word(always: None) -> None:
    done = as_user(PLAYER, "scx-gamer", "profiles", "set", "gaming")
    assert done.returncode == 0, done.stderr
    assert prop("ActiveProfile") == "gaming"
    assert as_user(PLAYER, "scx-gamer", "stop").returncode == 77
    assert as_user(MANAGER, "scx-gamer", "profiles", "set", "auto").returncode == 0
    done = as_user(MANAGER, "scx-gamer", "stop")
    assert done.returncode == 0 and kernel_state() == "disabled", done.stderr
    done = as_user(MANAGER, "scx-gamer", "start")
    assert done.returncode == 0, done.stderr
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 90)


def test_without_polkit_only_root_may(always: None, system: System) -> None:
    assert system.polkit is not None
    system.polkit.send_signal(signal.SIGSTOP)  # it hangs: the call ends in time all the same
    try:
        began = time.monotonic()
        done = as_user(MANAGER, "scx-gamer", "stop")
        assert done.returncode == 77 and "polkit" in done.stderr, done
        print(f"refused after {time.monotonic() - began:.1f} s with a polkitd that hangs")
        assert kernel_state() == "enabled"
    finally:
        system.polkit.send_signal(signal.SIGCONT)


def test_hold_ends_with_its_program(always: None) -> None:
    with BusClient(60) as client:
        client.call("HoldProfile", "ss", ["lowlatency", "a test"])
        assert prop("ActiveProfile") == "lowlatency"
    wait_until("the hold's end", lambda: prop("ActiveProfile") == "auto", 60, ASK_S)


def test_bus_goes_and_comes_back(always: None, system: System) -> None:
    system.stop()
    wait_until("off the bus", lambda: not control.request("status")["bus"]["connected"], 90, ASK_S)
    assert kernel_state() == "enabled"
    system.start()
    system.start_polkit()
    wait_until("the name", lambda: owned(BUS_NAME), 90, ASK_S)
    assert prop("State") == "attached"

# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed command beside the bus of this folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scx_gamer.dbus import BUS_NAME, INTERFACE
from scx_gamer.dbus.client import BusClient
from scx_gamer.libbpf import kernel
from tests.processes import end
from tests.vm.bus.conftest import ASK_S, owned
from tests.vm.harness import kernel_state, wait_until


def prop(name: str) -> Any:
    """A property of the service."""
    with BusClient(60) as client:
        interface = "org.freedesktop.DBus.Properties"
        return client.call("Get", "ss", [INTERFACE, name], interface=interface)[0].value


@contextmanager
def service(
    mode: str, *, kernel_input: bool = True, command: Sequence[str] = ("/usr/bin/scx-gamer",)
) -> Iterator[subprocess.Popen[bytes]]:
    """The command as root would run it, with the directories of an installed system."""
    folder = Path("/etc/scx-gamer")
    folder.mkdir(exist_ok=True)
    word = "true" if kernel_input else "false"
    (folder / "config.toml").write_text(
        f"[input]\nkernel_path = {word}\n[metrics]\nenabled = true\n"
    )
    Path("/var/lib/scx-gamer/state.json").unlink(missing_ok=True)
    before = set(kernel.names("prog").values())
    log = open("/run/scx-gamer.log", "wb")  # noqa: SIM115
    process = subprocess.Popen(
        [*command, "run", "--mode", mode],
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_until("the name", lambda: owned(BUS_NAME), 240, ASK_S)
        if mode == "always":
            wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
        yield process
    except BaseException:
        sys.stderr.write(Path("/run/scx-gamer.log").read_text())
        raise
    finally:
        end(process, 60)
        log.close()
        wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 60)
        wait_until("no program left", lambda: set(kernel.names("prog").values()) <= before, 60)

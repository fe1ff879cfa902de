# SPDX-License-Identifier: GPL-2.0-or-later
"""Roles of threads from what they do, on a real kernel: input, steady periods, calls to a GPU's driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.vm.detect.conftest import Desk
from tests.vm.harness import Supervised, start_supervisor, wait_until
from tests.vm.input import devices

UINPUT = Path("/dev/uinput")
RENDER = Path("/dev/dri/renderD128")

# argv: pipe that the compositor writes, render node, file for the threads' ids. The period is long for a real game and
# short for an emulated CPU.
_GAME = """
import fcntl, os, sys, threading, time
pipe, node, told = sys.argv[1:4]
ids = {}
def answer():
    ids["input"] = threading.get_native_id()
    with open(pipe, "rb", buffering=0) as source:
        while source.read(1): pass
def steady():
    ids["periodic"] = threading.get_native_id()
    while True: time.sleep(0.02)
def submit():
    ids["submit"] = threading.get_native_id()
    fd = os.open(node, os.O_RDWR)
    while True:
        try: fcntl.ioctl(fd, 0xc0106441, bytearray(16))
        except OSError: pass
        time.sleep(0.2 + os.urandom(1)[0] / 1000)
for work in answer, steady, submit:
    threading.Thread(target=work, daemon=True).start()
while len(ids) < 3: time.sleep(0.05)
with open(told + ".new", "w") as out: out.write(repr(ids))
os.rename(told + ".new", told)
time.sleep(1000)
"""
_COMPOSITOR = """
import os, sys
source = os.open(sys.argv[1], os.O_RDONLY)
with open(sys.argv[2], "wb", buffering=0) as pipe:
    while True:
        os.read(source, 2400)
        pipe.write(b"x")
"""


def roles(sup: Supervised, pid: int) -> dict[int, dict[str, dict[str, Any]]]:
    """tid → role → row."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for row in sup.ask("explain", pid=pid)["threads"]:
        if row["role"] and row["since_s"] is not None:
            found.setdefault(row["tid"], {})[row["role"]] = row
    return found


def looks_at_wakeups() -> bool:
    """Whether the hook is attached, from the kernel."""

    def asked(*words: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            ["bpftool", "-j", *words], stdout=subprocess.PIPE, check=False, timeout=60
        )
        found = json.loads(done.stdout or "[]")
        return found if isinstance(found, list) else [found]

    programs = {row.get("id") for row in asked("prog", "show", "name", "on_wakeup")} - {None}
    assert programs
    return any(link.get("prog_id") in programs for link in asked("link", "show"))


@pytest.mark.needs("/sys/class/drm")
def test_roles_come_from_facts_and_end_with_them(desk: Desk) -> None:
    subprocess.run(["modprobe", "-qa", "uinput", "evdev", "vgem"], check=False, timeout=60)
    assert UINPUT.exists() and RENDER.exists()
    game = desk.program("snakerun")
    compositor = desk.program("sway", sys.executable)
    pipe, told = desk.root / "pipe", desk.root / "ids"
    os.mkfifo(pipe)
    home = {"PYTHONHOME": sys.base_prefix}
    with (
        devices.keyboard() as keys,
        start_supervisor(SupervisorOptions(mode="auto"), env=desk.env, state="idle") as sup,
        closing(desk),
    ):
        event = str(keys.device.path)
        desk.start(compositor, "sway", "-S", "-c", _COMPOSITOR, event, str(pipe), env=home)
        pid = desk.start(
            game, "snakerun", "-S", "-c", _GAME, str(pipe), str(RENDER), str(told), env=home
        )
        wait_until("its threads", told.exists, 60)
        ids: dict[str, int] = eval(told.read_text())
        wait_until("the hooks", lambda: sup.status()["detection"]["threads"] == "ok", 60)
        assert sup.status()["detection"]["threads_why"] == ""
        # An emulated CPU that stands still now and then breaks a chain or a period: not all three at any one time.
        found: dict[str, dict[str, Any]] = {}
        counted: set[str] = set()

        def press() -> bool:
            for value in (1, 0):
                devices.key(keys, 30, value)
                time.sleep(0.1)
            seen = roles(sup, pid)
            assert "input" not in seen.get(ids["periodic"], {})
            assert "submit" not in seen.get(ids["input"], {})
            for role, tid in ids.items():
                if role in seen.get(tid, {}):
                    found[role] = seen[tid][role]
            told = sup.ask("snapshot")["detection"]["thread_roles"]
            counted.update(role for role, count in told.items() if count)
            return found.keys() == ids.keys() == counted

        try:
            wait_until("each role", press, 120)
        finally:
            print(found, counted)
        for role, row in found.items():
            print(f"{role}: {row['why']}, for {row['since_s']} s, until in {row['until_s']} s")
            assert 0 < row["until_s"] <= 3.0  # two, and what it took to ask
            assert row["class"] == "GAME"
        wait_until(
            "no input, no role", lambda: "input" not in roles(sup, pid).get(ids["input"], {}), 60
        )
        wait_until("the others go on", lambda: "submit" in roles(sup, pid).get(ids["submit"], {}))
        assert looks_at_wakeups()

        def kept() -> bool:
            """Nobody asks: wake-ups are left alone, what they showed stays, and who asks again begins another look."""
            while not sup.status()["detection"]["threads_resting"]:
                for value in (1, 0):
                    devices.key(keys, 30, value)
                    time.sleep(0.1)
            assert not looks_at_wakeups()
            time.sleep(2.5)  # a role lasts two seconds without a fact
            answer = sup.ask("explain", pid=pid)
            assert answer["threads_earlier"] and looks_at_wakeups()
            assert not sup.ask("explain", pid=pid)["threads_earlier"]
            return any(
                row["tid"] == ids[row["role"]] and row["until_s"] is None
                for row in answer["threads"]
                if row["role"] in ("input", "periodic") and row["since_s"] is not None
            )

        wait_until("a role that stays", kept, 180)
        desk.kill(pid)
        wait_until("no hooks", lambda: sup.status()["detection"]["threads"] == "off", 60)

# SPDX-License-Identifier: GPL-2.0-or-later
"""A Windows program in Debian's Wine: found without being told, its plumbing in its tree and not taken for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.games.proc import ProcFs
from tests.vm.detect.capture import capture
from tests.vm.detect.conftest import CLASS_CRITICAL, CLASS_GAME, Desk, KernelMap, desk
from tests.vm.harness import start_supervisor, wait_until

__all__ = ["desk"]
PREFIX = Path(__file__).resolve().parents[3] / "build/wine/prefix"


@pytest.fixture
def prefix(desk: Desk) -> Iterator[Path]:
    """The prepared prefix to write in; what is written goes with the test."""
    assert (PREFIX / "system.reg").exists(), "run tests/vm/wine/prepare outside of the guest"
    folder = desk.root / "prefix"
    for name in ("written", "work", "prefix"):
        (folder / name).mkdir(parents=True)
    parts = f"lowerdir={PREFIX},upperdir={folder}/written,workdir={folder}/work"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", parts, folder / "prefix"], check=True
    )
    yield folder / "prefix"
    desk.close()
    ended = ["wineserver", "--kill", "--wait"]  # it writes its registry there
    env = os.environ | {"WINEPREFIX": str(folder / "prefix")}
    subprocess.run(ended, env=env, check=False, timeout=60)
    subprocess.run(["umount", "--lazy", folder / "prefix"], check=True)


def pid_of(windows: str) -> int:
    """Return the process that runs a Windows program; 0 if none does."""
    for process in (p for pid in ProcFs().pids() if (p := ProcFs().read(pid)) is not None):
        if process.argv and process.argv[0].lower().endswith(f"\\{windows}"):
            return process.pid
    return 0


@pytest.mark.timeout(1500)
def test_a_windows_program_is_a_game_once_it_draws(desk: Desk, prefix: Path) -> None:
    env = {"WINEPREFIX": str(prefix), "WINEDEBUG": "-all", "HOME": str(desk.root)}
    options = SupervisorOptions(mode="auto", input=False)
    with (
        start_supervisor(options, env=desk.env, state="idle") as sup,
        KernelMap("classes") as classes,
    ):
        ping = "wine ping -n 1000 127.0.0.1"
        desk.start(Path("/bin/sh"), "sh", "-c", f"exec {ping}", env=env)
        wait_until("a Windows program", lambda: pid_of("ping.exe"), 600)
        why = sup.ask("explain", pid=pid_of("ping.exe"))
        print(why)
        assert not why["game"] and "draws" in why["because"] and not sup.ask("games")
        subprocess.run(["modprobe", "-qa", "vgem"], check=False, timeout=60)
        # a descriptor of the GPU that its Windows program inherits, as one that it opened
        drawing = f"exec 9<>/dev/dri/renderD128; exec {ping}"
        desk.start(Path("/bin/sh"), "sh", "-c", drawing, env=env)
        wait_until("a game", lambda: sup.ask("games"), 600)
        (game,) = sup.ask("games")
        print(game)
        assert (game["rule"], game["name"]) == ("wine", "ping")
        told = sup.ask("explain", pid=game["main_pid"])
        assert told["program"] == "ping.exe" and classes.get(game["main_pid"]) == CLASS_GAME
        sup.wait_state("attached")

        def tree() -> dict[str, int]:
            return {
                p["program"]: p["pid"] for p in sup.ask("explain", pid=game["main_pid"])["tree"]
            }

        wait_until("its wineserver", lambda: any("wineserver" in name for name in tree()), 60)
        found = tree()
        print(capture(found.values()))
        server = next(pid for name, pid in found.items() if "wineserver" in name)
        assert classes.get(server) == CLASS_CRITICAL, "the game waits for it"
        assert "services.exe" in found and classes.get(found["services.exe"]) == CLASS_GAME

# SPDX-License-Identifier: GPL-2.0-only
"""A Windows program in Debian's Wine: found without being told, its plumbing in its tree and not taken for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from scx_gamer.options import SupervisorOptions
from tests.vm.detect.capture import capture
from tests.vm.detect.conftest import CLASS_CRITICAL, CLASS_GAME, Desk, KernelMap, desk
from tests.vm.harness import start_supervisor, wait_until

__all__ = ["desk"]
PREFIX = Path(__file__).resolve().parents[3] / "build/wine/prefix"


def linked_prefix(to: Path) -> Path:
    """The prepared prefix with files as links, so that nothing of it is copied or changed."""
    assert (PREFIX / "system.reg").exists(), "run tests/vm/wine/prepare outside of the guest"
    shutil.copytree(PREFIX, to, symlinks=True, copy_function=os.symlink)
    for name in ("system.reg", "user.reg", "userdef.reg", ".update-timestamp"):
        (to / name).unlink()
        shutil.copy2(PREFIX / name, to / name)
    return to


def test_a_plain_windows_program_is_found(desk: Desk) -> None:
    prefix = linked_prefix(desk.root / "prefix")
    env = {"WINEPREFIX": str(prefix), "WINEDEBUG": "-all", "HOME": str(desk.root)}
    options = SupervisorOptions(mode="auto", input=False)
    with (
        start_supervisor(options, env=desk.env, state="idle") as sup,
        KernelMap("classes") as classes,
    ):
        desk.start(Path("/usr/bin/wine"), "wine", "ping", "-n", "1000", "127.0.0.1", env=env)
        wait_until("a game", lambda: sup.ask("games"), 400)
        (game,) = sup.ask("games")
        print(game)
        assert (game["rule"], game["name"]) == ("wine", "ping.exe")
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

# SPDX-License-Identifier: GPL-2.0-only
"""Real games, found without being told: by the desktop entries that their packages install."""

from __future__ import annotations

from pathlib import Path

import pytest

from scx_gamer.options import SupervisorOptions
from tests.vm.detect.conftest import CLASS_GAME, Desk, KernelMap
from tests.vm.harness import start_supervisor, wait_until

GAMES = Path("/usr/games")
HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}


@pytest.mark.parametrize(
    ("program", "argv", "name"),
    [
        ("chocolate-doom", ("-iwad", "/usr/share/games/doom/freedoom1.wad"), "Chocolate Doom"),
        ("freedoom1", (), "Phase 1"),  # a script that executes an engine
    ],
)
def test_a_packaged_game_is_found(
    desk: Desk, program: str, argv: tuple[str, ...], name: str
) -> None:
    path = GAMES / program
    assert path.exists(), f"{path} is missing: apt install chocolate-doom freedoom"
    home = {**HEADLESS, "HOME": str(desk.root)}
    with (
        start_supervisor(SupervisorOptions(mode="auto", input=False), state="idle") as sup,
        KernelMap("classes") as classes,
    ):
        pid = desk.start(path, str(path), *argv, "-nosound", "-nogui", env=home)
        wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
        sup.wait_state("attached")
        told = sup.ask("explain", pid=pid)
        print(f"{told['lineage']}: {told['rule']}, {told['evidence']}")
        assert told["game"] and told["rule"] == "desktop-entry" and told["name"] == name
        tracer = [
            line
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("TracerPid")
        ]
        assert tracer == ["TracerPid:\t0"], "nothing attaches to a game"
        desk.kill(pid)
        sup.wait_state("idle", 60)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of games that no entry's program names: scripts, sandboxes, AppImages. Beside one supervisor of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vm.detect.conftest import Desk, found
from tests.vm.harness import Supervised, wait_until
from tests.vm.promises.meters import BUSYBOX


def test_an_interpreted_game_is_known_by_its_script(desk: Desk, sup: Supervised) -> None:
    script = desk.root / "bin" / "cardgame.py"
    script.write_text(f"#!{os.path.realpath(sys.executable)}\nimport time\ntime.sleep(1000)\n")
    script.chmod(0o755)
    desk.entry(script, "Card Game")
    looks = int(sup.ask("snapshot")["detection"]["reconciles"])
    wait_until(
        "the entry is read", lambda: sup.ask("snapshot")["detection"]["reconciles"] > looks, 90
    )
    pid = desk.start(script, str(script))
    told = found(sup, pid)
    assert (told["rule"], told["name"]) == ("desktop-entry", "Card Game")
    other = desk.start(
        Path(sys.executable), "python3", "-S", "-c", f"import time; time.sleep(1000) # {script}"
    )
    assert not sup.ask("explain", pid=other)["game"]


def test_a_sandbox_is_known_by_its_own_record(desk: Desk, sup: Supervised) -> None:
    """As Flatpak without systemd looks: another root with .flatpak-info in it, and no scope."""
    root = desk.root / "sandbox"
    (root / "app/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(os.path.realpath(BUSYBOX), root / "app/bin/busyboxgame")
    (root / ".flatpak-info").write_text("[Application]\nname=org.example.BoxGame\n")
    text = "[Desktop Entry]\nType=Application\nName=Box Game\nCategories=Game;\n"
    text += "Exec=/usr/bin/flatpak run --command=busyboxgame org.example.BoxGame\n"
    (desk.root / "applications/org.example.BoxGame.desktop").write_text(text)
    looks = int(sup.ask("snapshot")["detection"]["reconciles"])
    wait_until(
        "the entry is read", lambda: sup.ask("snapshot")["detection"]["reconciles"] > looks, 90
    )
    command = ["chroot", str(root), "/app/bin/busyboxgame", "sleep", "1000"]
    pid = desk.start(
        Path(shutil.which("chroot") or "chroot"),
        *command,
        env={"FLATPAK_ID": "org.example.BoxGame"},
    )
    told = found(sup, pid)
    assert (told["rule"], told["name"], told["app_id"]) == (
        "desktop-entry",
        "Box Game",
        "org.example.BoxGame",
    )


def test_an_appimages_server_is_not_the_game(desk: Desk, sup: Supervised) -> None:
    """The running program has APPIMAGE in its environment; the image's own file serves the mount."""
    image = desk.program("Deck.AppImage", BUSYBOX)
    desk.entry(image, "Deck")
    looks = int(sup.ask("snapshot")["detection"]["reconciles"])
    wait_until(
        "the entry is read", lambda: sup.ask("snapshot")["detection"]["reconciles"] > looks, 90
    )
    server = desk.start(image)
    pid = desk.start(desk.program("deckgame", BUSYBOX), env={"APPIMAGE": str(image)})
    sup.ask(
        "hint", source="test", kind="focus", pid=pid
    )  # its exec is no name of the kernel's table
    wait_until("a look", lambda: bool(sup.ask("games")), 90)
    told = found(sup, pid)
    assert told["name"] == "Deck"
    assert not sup.ask("explain", pid=server)["game"]


@pytest.mark.needs("/sys/class/drm")
def test_a_game_of_no_entry_is_found_when_it_opens_the_gpu(desk: Desk, sup: Supervised) -> None:
    """Unpacked and started from a file manager: no name of its exec tells, but Unity's player and the open do."""
    subprocess.run(["modprobe", "-qa", "vgem"], check=False, timeout=60)
    node = Path("/dev/dri/renderD128")
    assert node.exists()
    looks = int(sup.ask("snapshot")["detection"]["reconciles"])
    wait_until("a look", lambda: sup.ask("snapshot")["detection"]["reconciles"] > looks, 90)
    game = desk.program("unity/hollow.x86_64", "/bin/bash")
    (game.parent / "UnityPlayer.so").touch()
    (game.parent / "hollow_Data").mkdir(exist_ok=True)
    (game.parent / "hollow_Data/app.info").write_text("Team\nHollow\n")
    began = time.monotonic()
    pid = desk.start(game, str(game), "-c", f"exec 9<>{node}; sleep 1000 9>&-; :")
    told = found(sup, pid)
    took = time.monotonic() - began
    print(f"found {took:.2f} s after its exec")
    assert (told["rule"], told["name"]) == ("record", "Hollow")
    assert took < 20, "not with the look of every 30 s"

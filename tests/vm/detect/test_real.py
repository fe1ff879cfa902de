# SPDX-License-Identifier: GPL-2.0-or-later
"""Real games, found without being told: by the desktop entries that their packages install."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import kernel
from tests.java import class_file
from tests.vm.detect.capture import capture
from tests.vm.detect.conftest import CLASS_GAME, Desk, KernelMap, end_games
from tests.vm.harness import Supervised, start_supervisor, wait_until
from tests.vm.promises.meters import BUSYBOX

GAMES = Path("/usr/games")
UPROBES = Path("/sys/kernel/tracing/uprobe_events")
# Kinds of links that reach the kernel's own functions, tracepoints and operations, and nothing of a program's.
OF_THE_KERNEL = {kernel.LINK_RAW_TRACEPOINT, kernel.LINK_TRACING, kernel.LINK_STRUCT_OPS}
HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}


@pytest.fixture(scope="module")
def knowing() -> Iterator[Supervised]:
    """A supervisor that knows this machine's own desktop entries."""
    options = SupervisorOptions(mode="auto", input=False)
    with start_supervisor(options, state="idle") as supervised:
        yield supervised


@pytest.fixture
def installed(desk: Desk, knowing: Supervised) -> Iterator[Supervised]:
    yield knowing
    end_games(desk, knowing)


@pytest.mark.parametrize(
    ("program", "argv", "name"),
    [
        ("chocolate-doom", ("-iwad", "/usr/share/games/doom/freedoom1.wad"), "Chocolate Doom"),
        # a script that executes an engine, which is another entry's program
        ("freedoom1", (), "Phase 1"),
    ],
)
def test_a_packaged_game_is_found(
    desk: Desk, installed: Supervised, program: str, argv: tuple[str, ...], name: str
) -> None:
    path = GAMES / program
    assert path.exists(), f"{path} is missing: apt install chocolate-doom freedoom"
    home = {**HEADLESS, "HOME": str(desk.root)}
    with KernelMap("classes") as classes:
        pid = desk.start(path, str(path), *argv, "-nosound", "-nogui", env=home)
        wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
        installed.wait_state("attached")
        told = installed.ask("explain", pid=pid)
        print(capture([pid]))
        print(f"{told['lineage']}: {told['rule']}, {told['evidence']}")
        assert told["game"] and told["rule"] == "desktop-entry" and told["name"] == name
        tracer = [
            line
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("TracerPid")
        ]
        assert tracer == ["TracerPid:\t0"], "nothing attaches to a game"
        wait_until("all hooks", lambda: installed.status()["detection"]["threads"] == "ok", 60)
        links = kernel.link_types()
        assert {"on_exec", "on_wakeup", "scx_gamer_ops"} <= links.keys()
        assert set(links.values()) == OF_THE_KERNEL, links
        if UPROBES.exists():
            assert UPROBES.read_text() == ""


def found(sup: Supervised, pid: int) -> dict[str, object]:
    """The answer to `games explain`, once the process is a game of the kernel's too."""
    with KernelMap("classes") as classes:
        wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
    told = sup.ask("explain", pid=pid)
    assert isinstance(told, dict) and told["game"], told
    print(
        f"{told['lineage']}: {told['rule']} {told['name']!r}, {told['evidence']}; {told['looked_for']}"
    )
    return told


@pytest.mark.needs("/usr/bin/java")
def test_a_java_program_with_minecrafts_main_class_is_found(
    desk: Desk, installed: Supervised
) -> None:
    main = "net.minecraft.client.main.Main"
    folder = desk.root / "classes"
    path = folder / f"{main.replace('.', '/')}.class"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(class_file(main.replace(".", "/")))
    libraries = ":".join(f"/libraries/lib{n}/1.0/lib{n}-1.0.jar" for n in range(300))
    java = Path("/usr/bin/java").resolve()
    pid = desk.start(java, "java", "-Xint", "-Xshare:auto", "-cp", f"{libraries}:{folder}", main)
    told = found(installed, pid)
    assert told["name"] == "Minecraft" and told["rule"] in ("java", "profile")
    reader = desk.start(desk.program("grep", BUSYBOX), "sleep", "1000", main)
    assert not installed.ask("explain", pid=reader)["game"], "it only mentions the class"


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

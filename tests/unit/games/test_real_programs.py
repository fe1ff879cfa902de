# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that run here, read from this machine's own `/proc`, with the entries that their packages install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scx_gamer.games import desktop, lists
from scx_gamer.games.explain import explain
from scx_gamer.games.proc import ProcFs
from scx_gamer.games.tracker import Tracker
from tests.java import class_file

DATA = lists.load(Path(__file__).parents[3] / "profiles" / "detect.toml")
DOOM, IWAD = "/usr/games/chocolate-doom", "/usr/share/games/doom/freedoom1.wad"
ENTRY = "[Desktop Entry]\nType=Application\nName={}\nExec={}\nCategories=Game;\n"

Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program in this test's folder; each ends with the test."""
    with ExitStack() as stack:

        def run(
            *argv: str, exe: str = "", env: dict[str, str] | None = None, root: str = ""
        ) -> int:
            process = stack.enter_context(
                subprocess.Popen(
                    argv,
                    executable=exe or None,
                    env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **(env or {})},
                    cwd=tmp_path,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    preexec_fn=(lambda: os.chroot(root)) if root else None,
                )
            )
            stack.callback(process.kill)
            return process.pid

        yield run


def settled(pid: int, entries: desktop.Entries, want: Callable[[Tracker], bool]) -> Tracker:
    """Look until what is wanted shows, as the supervisor would: an exec takes its time."""
    until = time.monotonic() + 20
    while True:
        track = Tracker(ProcFs(), DATA, entries)
        track.exec_seen(pid)
        track.update(0.0)
        if want(track) or time.monotonic() > until:
            return track
        time.sleep(0.05)


def told(track: Tracker, pid: int) -> dict[str, object]:
    answer = explain(track, pid, 1.0)
    print(
        {
            key: answer[key]
            for key in ("program", "game", "evidence", "because", "looked_for")
            if key in answer
        }
    )
    return answer


@pytest.mark.skipif(not os.path.exists(DOOM), reason=f"{DOOM} is missing")
def test_a_packaged_game_is_found_by_its_packages_entry(start: Start) -> None:
    entries, _ = desktop.desktop_games([desktop.Place("/usr/share/applications")])
    headless = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    pid = start(DOOM, "-iwad", IWAD, "-nosound", "-nogui", env=headless)
    track = settled(pid, entries, lambda t: bool(t.games))
    answer = told(track, pid)
    assert (answer["rule"], answer["name"]) == ("desktop-entry", "Chocolate Doom")


@pytest.mark.skipif(shutil.which("java") is None, reason="no Java")
def test_java_with_minecrafts_main_class(start: Start, tmp_path: Path) -> None:
    main = "net.minecraft.client.main.Main"
    path = tmp_path / f"{main.replace('.', '/')}.class"
    path.parent.mkdir(parents=True)
    path.write_bytes(class_file(main.replace(".", "/")))
    libraries = ":".join(f"/libraries/lib{n}/1.0/lib{n}-1.0.jar" for n in range(300))
    pid = start("java", "-Xint", "-cp", f"{libraries}:{tmp_path}", main)
    track = settled(pid, desktop.Entries(), lambda t: bool(t.games))
    answer = told(track, pid)
    assert (answer["rule"], answer["name"]) == ("java", "Minecraft")
    reader = start("tail", "-f", "/dev/null", main)
    assert not told(settled(reader, desktop.Entries(), lambda t: True), reader)["game"]


def test_an_interpreted_game_is_its_script(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "cardgame.py"
    script.write_text(f"#!{os.path.realpath(sys.executable)}\nimport time\ntime.sleep(100)\n")
    script.chmod(0o755)
    (tmp_path / "applications").mkdir()
    (tmp_path / "applications/c.desktop").write_text(ENTRY.format("Card Game", script))
    entries, names = desktop.desktop_games([tmp_path / "applications"])
    assert "cardgame.py" in names
    pid = start(str(script))
    assert told(settled(pid, entries, lambda t: bool(t.games)), pid)["name"] == "Card Game"
    other = start(sys.executable, "-S", "-c", f"import time; time.sleep(100) # {script}")
    assert not told(settled(other, entries, lambda t: True), other)["game"]


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("busybox"), reason="needs root and busybox"
)
def test_a_sandbox_says_which_application_it_is(start: Start, tmp_path: Path) -> None:
    root = tmp_path / "sandbox"
    (root / "app/bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "app/bin/busyboxgame")
    (root / ".flatpak-info").write_text("[Application]\nname=org.example.BoxGame\n")
    (tmp_path / "applications").mkdir()
    line = "/usr/bin/flatpak run --command=busyboxgame org.example.BoxGame"
    (tmp_path / "applications/b.desktop").write_text(ENTRY.format("Box Game", line))
    entries, _ = desktop.desktop_games([tmp_path / "applications"])
    pid = start("/app/bin/busyboxgame", "sleep", "100", root=str(root))
    answer = told(settled(pid, entries, lambda t: bool(t.games)), pid)
    assert (answer["rule"], answer["app_id"]) == ("desktop-entry", "org.example.BoxGame")
    (root / ".flatpak-info").unlink()
    os.mkfifo(root / ".flatpak-info")
    again = start("/app/bin/busyboxgame", "sleep", "100", root=str(root))
    assert not told(settled(again, entries, lambda t: True), again)["game"], (
        "a FIFO is waited for by nobody"
    )


def test_an_appimages_server_is_not_the_game(start: Start, tmp_path: Path) -> None:
    image, game = tmp_path / "Deck.AppImage", tmp_path / "mount/deckgame"
    game.parent.mkdir()
    for copy in (image, game):
        shutil.copy(os.path.realpath("/bin/sleep"), copy)
    (tmp_path / "applications").mkdir()
    (tmp_path / "applications/d.desktop").write_text(ENTRY.format("Deck", f"env X=1 {image} %U"))
    entries, _ = desktop.desktop_games([tmp_path / "applications"])
    server = start(str(image), "100")
    pid = start(str(game), "100", env={"APPIMAGE": str(image)})
    answer = told(settled(pid, entries, lambda t: bool(t.games)), pid)
    assert answer["name"] == "Deck" and "APPIMAGE" in str(answer["evidence"])
    assert not told(settled(server, entries, lambda t: True), server)["game"]

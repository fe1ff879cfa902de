# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that run here, read from this machine's own `/proc`, with the entries that their packages install."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scx_gamer.games import desktop, lists
from scx_gamer.games.explain import explain
from scx_gamer.games.proc import ProcFs, Tree
from scx_gamer.games.tracker import Tracker
from tests.agent.support import session
from tests.java import class_file
from tests.processes import running

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
                running(
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


@pytest.mark.skipif(not os.path.exists(DOOM), reason=f"{DOOM} is missing")
@pytest.mark.skipif(shutil.which("weston") is None, reason="no weston")
def test_a_compositor_around_a_game_is_no_part_of_it() -> None:
    """As with `gamescope -- GAME` and `cage GAME`: a compositor without a screen starts the game, and ends with it."""
    entries, _ = desktop.desktop_games([desktop.Place("/usr/share/applications")])
    with session() as own:
        own.env |= {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
        game = own.write("game", f"#!/bin/sh\nexec {DOOM} -iwad {IWAD} -nosound -nogui\n")
        game.chmod(0o755)
        config = own.write("weston.ini", f"[autolaunch]\npath={game}\nwatch=true\n")
        around = own.start("weston", "--backend=headless-backend.so", f"--config={config}").pid
        pid = own.wait_for("the game", lambda: list(_below(around, DOOM)))[0]
        try:
            track = settled(pid, entries, lambda t: bool(t.games))
            assert told(track, pid)["name"] == "Chocolate Doom"
            assert {member for member, _start in track.games[0].members} == {pid}
            assert track.classes[pid].class_name == "GAME"
            assert not told(track, around)["game"]
            assert track.classes[around].class_name == "CRITICAL"
        finally:
            os.kill(pid, signal.SIGKILL)  # the compositor's end would not be its


def _below(pid: int, exe: str) -> Iterator[int]:
    return (one.pid for one in Tree.scan(ProcFs()).descendants(pid) if one.exe == exe)


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


def of_tree(pid: int, entries: desktop.Entries, name: str) -> dict[str, object]:
    """Look at all processes until a game of this name runs in the tree of `pid`, and explain its main process."""
    until = time.monotonic() + 60
    while True:
        track = Tracker(ProcFs(), DATA, entries)
        track.reconcile(0.0)
        for game in track.games:
            above = (game.main, *track.tree.ancestors(game.main))
            if game.decision.name == name and pid in (p.pid for p in above):
                return told(track, game.main.pid)
        assert time.monotonic() < until, [g.decision for g in track.games]
        time.sleep(0.1)


@pytest.mark.programs("love")
def test_love_counts_with_its_entrys_game_alone(start: Start, tmp_path: Path) -> None:
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        off = "".join(f"t.modules.{m} = false " for m in ("window", "graphics", "audio", "sound"))
        (tmp_path / name / "conf.lua").write_text(f"function love.conf(t) {off} end\n")
        text = "function love.update() love.timer.sleep(0.05) end\n"
        (tmp_path / name / "main.lua").write_text(text)
    (tmp_path / "applications").mkdir()
    line = f"love {tmp_path}/mine"
    (tmp_path / "applications/l.desktop").write_text(ENTRY.format("Mine", line))
    entries, _ = desktop.desktop_games([tmp_path / "applications"])
    env = {"SDL_VIDEODRIVER": "dummy"}
    pid = start("love", str(tmp_path / "mine"), env=env)
    answer = told(settled(pid, entries, lambda t: bool(t.games)), pid)
    assert (answer["rule"], answer["name"]) == ("desktop-entry", "Mine")
    other = start("love", str(tmp_path / "other"), env=env)
    assert not told(settled(other, entries, lambda t: True), other)["game"]
    for process in (pid, other):
        assert os.path.basename(os.readlink(f"/proc/{process}/exe")).startswith("love")


@pytest.mark.programs("Xvfb", "/usr/games/pysolfc", "/usr/games/frozen-bubble")
@pytest.mark.parametrize(
    ("program", "name"), [("pysolfc", "PySol Fan Club Edition"), ("frozen-bubble", "Frozen-Bubble")]
)
def test_a_packaged_script_is_the_game(start: Start, program: str, name: str) -> None:
    """Python with Tk and Perl with SDL: the interpreter is what `/proc` shows."""
    path = f"/usr/games/{program}"
    entries, _ = desktop.desktop_games([desktop.Place("/usr/share/applications")])
    display = f":{1000 + os.getpid() % 10000}"
    start("Xvfb", display, "-screen", "0", "640x480x24")
    env = {"DISPLAY": display, "SDL_AUDIODRIVER": "dummy", "PATH": "/usr/games:/usr/bin:/bin"}
    pid = start(path, env=env)
    answer = told(settled(pid, entries, lambda t: bool(t.games)), pid)
    assert (answer["rule"], answer["name"]) == ("desktop-entry", name)


@pytest.mark.programs("bwrap", "busybox")
def test_bubblewraps_sandbox_says_which_application_it_is(start: Start, tmp_path: Path) -> None:
    """As Flatpak lays it out where no systemd makes a scope."""
    (tmp_path / "info").write_text("[Application]\nname=org.example.BoxGame\n")
    (tmp_path / "applications").mkdir()
    line = "/usr/bin/flatpak run --command=busyboxgame org.example.BoxGame"
    (tmp_path / "applications/b.desktop").write_text(ENTRY.format("Box Game", line))
    entries, _ = desktop.desktop_games([tmp_path / "applications"])
    box = ["--tmpfs", "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc", "--unshare-pid"]
    box.append("--die-with-parent")
    for path, inside in (
        (shutil.which("busybox"), "/app/bin/busyboxgame"),
        ("info", "/.flatpak-info"),
    ):
        box += ["--ro-bind", str(path), inside]
    command = ["/app/bin/busyboxgame", "sleep", "100"]
    pid = start("bwrap", *box, "--", *command, env={"FLATPAK_ID": "org.example.BoxGame"})
    answer = of_tree(pid, entries, "Box Game")
    assert (answer["rule"], answer["app_id"]) == ("desktop-entry", "org.example.BoxGame")
    assert answer["program"] == "busyboxgame"


@pytest.mark.programs("squashfuse", "mksquashfs")
def test_an_appimages_fuse_server_is_not_the_game(start: Start, tmp_path: Path) -> None:
    """The image's own program serves its file system, marked as AppImages are; the game runs from the mount."""
    image, mount = tmp_path / "deck", tmp_path / "mount"
    program = bytearray(Path(shutil.which("squashfuse") or "").read_bytes())
    program[8:11] = b"AI\x02"
    image.write_bytes(program)
    image.chmod(0o755)
    (tmp_path / "content/usr/bin").mkdir(parents=True)
    shutil.copy(os.path.realpath("/bin/sleep"), tmp_path / "content/usr/bin/deckgame")
    file = tmp_path / "content.squashfs"
    subprocess.run(["mksquashfs", tmp_path / "content", file, "-quiet"], check=True)
    mount.mkdir()
    (tmp_path / "applications").mkdir()
    (tmp_path / "applications/d.desktop").write_text(ENTRY.format("Deck", f"{image} %U"))
    entries, _ = desktop.desktop_games([tmp_path / "applications"])
    server = start(str(image), "-f", str(file), str(mount))
    try:
        until = time.monotonic() + 20
        while not (game := mount / "usr/bin/deckgame").exists():
            assert time.monotonic() < until, "it is not mounted"
            time.sleep(0.05)
        pid = start(str(game), "100", env={"APPIMAGE": str(image)})
        answer = of_tree(pid, entries, "Deck")
        assert "APPIMAGE" in str(answer["evidence"]) and answer["main_pid"] == pid
        assert not told(settled(server, entries, lambda t: True), server)["game"]
        assert os.readlink(f"/proc/{server}/exe") == str(image)
    finally:
        subprocess.run(["umount", "--lazy", mount], check=False)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that a user can put in the way: none is waited for, none leads elsewhere, none is too long."""

from __future__ import annotations

import os
import shutil
import struct
import time
from pathlib import Path

import pytest

from scx_gamer.games import desktop, records, userfiles
from scx_gamer.games.proc import ProcFs
from scx_gamer.games.userfiles import Mounts, names_below, read_below, resolve
from tests.processes import running

ENTRY = "[Desktop Entry]\nType=Application\nName={}\nExec={}\nCategories=Game;\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "u/.local/share/applications").mkdir(parents=True)
    return tmp_path / "u"


def found(home: Path) -> set[str]:
    place = desktop.Place(str(home / ".local/share/applications"), str(home))
    return {e.name for e in desktop.desktop_games([place])[0].programs.values()}


def test_a_good_entry_is_read_beside_bad_ones(home: Path, tmp_path: Path) -> None:
    folder = home / ".local/share/applications"
    (folder / "good.desktop").write_text(ENTRY.format("Good", "/bin/ls"))
    (folder / "inside.desktop").symlink_to("good.desktop")
    os.mkfifo(folder / "fifo.desktop")
    (folder / "folder.desktop").mkdir()
    (folder / "device.desktop").symlink_to("/dev/zero")
    (tmp_path / "secret.desktop").write_text(ENTRY.format("Elsewhere", "/bin/cat"))
    (folder / "out.desktop").symlink_to(tmp_path / "secret.desktop")
    (folder / "loop.desktop").symlink_to("loop.desktop")
    (folder / "long.desktop").write_text(ENTRY.format("Long", "/bin/cp " + "x" * (256 << 10)))
    (folder / "torn.desktop").write_bytes(b"[Desktop Entry]\nExec='\xff\nCategories=Game;\n")
    began = time.monotonic()
    assert found(home) == {"Good"}
    assert time.monotonic() - began < 5


def mount(number: int, kind: str, options: str = "rw") -> bytes:
    return f"{number} 1 0:{number} / /m{number} rw - {kind} none {options}\n".encode()


def test_a_file_that_a_process_holds_is_opened_only_on_mounts_that_answer() -> None:
    table = mount(31, "ext4") + mount(32, "fuse.sshfs", "rw,user_id=1000") + mount(33, "nfs4")
    answers = [userfiles._mount_answers(n, table) for n in (b"31", b"32", b"33", b"3", b"99", b"")]
    assert answers == [True, False, False, False, False, False]
    assert userfiles._mount_of(b"pos:\t0\nflags:\t02\nmnt_id:\t31\nino:\t5\n") == b"31"
    assert userfiles._mount_of(b"") == b""


def test_names_and_entries_are_counted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / ".local/share/applications"
    for number in range(40):
        (folder / f"{number:03}.desktop").write_text(ENTRY.format(f"G{number}", "/bin/ls"))
    assert len(list(names_below(str(home), ".local/share/applications", Mounts(), 7))) == 7
    monkeypatch.setattr(desktop, "MAX_ENTRIES", 10)
    entries = desktop.Entries()
    list(desktop.read_entries([desktop.Place(str(folder), str(home))], entries))
    assert entries.refused == 30


def test_a_file_system_that_may_not_answer_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x")
    line = "36 35 98:0 / {} rw,noatime - {} server:/ rw{}\n"
    for kind, options, answers in (
        ("nfs4", "", False), ("autofs", "", False), ("fuse.sshfs", ",user_id=1000", False),
        ("fuse.mergerfs", ",user_id=0", True), ("ext4", "", True), ("fuseblk", ",user_id=0", True),
    ):  # fmt: skip
        mounts = Mounts(line.format("/", "ext4", "") + line.format(tmp_path / "a", kind, options))
        assert mounts.answers(f"{tmp_path}/a/b") is answers, kind
        assert bool(read_below(str(tmp_path), "a/b/file", mounts)) is answers, kind
        assert bool(resolve(f"{tmp_path}/a/b/file", mounts)) is answers, kind


def test_links_are_resolved_as_exe_shows_them(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/program").write_text("x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "up").symlink_to(tmp_path / "link/../real/program")
    assert resolve(f"{tmp_path}/link/program", Mounts()) == f"{tmp_path}/real/program"
    assert resolve(f"{tmp_path}/up", Mounts()) == f"{tmp_path}/real/program"
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert resolve(f"{tmp_path}/one", Mounts()) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="files of root")
def test_only_what_root_alone_can_replace_is_roots(tmp_path: Path) -> None:
    assert userfiles.owned_by_root(os.path.realpath("/bin/sh"))
    mine = tmp_path / "sway"
    mine.write_text("x")
    assert not userfiles.owned_by_root(str(mine)), "/tmp is everybody's"
    assert not userfiles.owned_by_root("bin/sh")


def appinfo(version: int, kinds: dict[int, str]) -> bytes:
    """An `appinfo.vdf` of one key for each app, in the form that Steam writes."""
    strings = [b"appinfo", b"common", b"type"]
    body = b""
    for app, kind in kinds.items():
        key = (2).to_bytes(4, "little") if version == 0x29 else b"type\0"
        keys = b"\x00x\0\x01" + key + kind.encode() + b"\0\x08\x08"
        rest = bytes(40 if version == 0x27 else 60) + keys
        body += app.to_bytes(4, "little") + len(rest).to_bytes(4, "little") + rest
    body += bytes(4)
    head = (0x07564400 + version).to_bytes(4, "little") + (1).to_bytes(4, "little")
    if version != 0x29:
        return head + body
    table = len(strings).to_bytes(4, "little") + b"".join(s + b"\0" for s in strings)
    return head + (16 + len(body)).to_bytes(8, "little") + body + table


@pytest.mark.parametrize("version", [0x27, 0x28, 0x29])
def test_steams_record_says_the_type_of_an_app(version: int) -> None:
    raw = appinfo(version, {10: "Game", 365670: "Application", 4000: "Tool"})
    assert [records.app_type(raw, app) for app in (10, 365670, 4000, 5)] == [
        "game",
        "application",
        "tool",
        "",
    ]
    for cut in range(len(raw)):
        records.app_type(raw[:cut], 365670)


def test_steams_flatpak_has_its_files_in_a_home_of_its_own(tmp_path: Path) -> None:
    steam = "/home/u/.local/share/Steam"
    assert records.places_of(steam) == [
        steam,
        "/home/u/.var/app/com.valvesoftware.Steam/.local/share/Steam",
    ]
    assert records.places_of("/mnt/games/steamapps") == ["/mnt/games/steamapps"]
    (tmp_path / "appcache").mkdir()
    (tmp_path / "appcache/appinfo.vdf").write_bytes(appinfo(0x29, {431730: "Application"}))
    types = records.SteamTypes(Mounts())
    assert types.is_software(str(tmp_path), 431730) == "application"
    assert types.is_software(str(tmp_path), 10) == types.is_software("", 431730) == ""


def test_records_of_stores_name_their_games(tmp_path: Path) -> None:
    common = tmp_path / "steamapps/common/Some Game"
    common.mkdir(parents=True)
    manifest = '"AppState"\n{\n\t"appid"\t\t"7"\n\t"name"\t\t"Some \\"Game\\""\n}\n'
    (tmp_path / "steamapps/appmanifest_7.acf").write_text(manifest)
    assert records.steam_name(str(common), "", 7, Mounts()) == 'Some "Game"'
    assert records.steam_name(str(common), "", 8, Mounts()) == ""
    game = tmp_path / "gog/Stardew Valley"
    (game / "game").mkdir(parents=True)
    (game / "gameinfo").write_text("Stardew Valley\n1.6\n")
    (game / "start.sh").write_text("")
    found = records.of_program(f"{game}/game/StardewValley", Mounts())
    assert found is not None and found.name == "Stardew Valley"
    os.remove(game / "gameinfo")
    assert records.of_program(f"{game}/game/StardewValley", Mounts()) is None


def test_shortcuts_are_named_by_steams_list_of_them(tmp_path: Path) -> None:
    def shortcut(number: int, name: bytes) -> bytes:
        return (
            b"\x000\0\x02appid\0"
            + struct.pack("<I", number)
            + b"\x01AppName\0"
            + name
            + b"\0\x01Exe\0x\0\x08"
        )

    file = tmp_path / "userdata/42/config/shortcuts.vdf"
    file.parent.mkdir(parents=True)
    file.write_bytes(
        b"\0shortcuts\0" + shortcut(9, b"Nine") + shortcut(3090510430, b"My Game") + b"\x08\x08"
    )
    assert records.shortcut_name(str(tmp_path), 3090510430, Mounts()) == "My Game"
    assert records.shortcut_name(str(tmp_path), 9, Mounts()) == "Nine"
    assert records.shortcut_name(str(tmp_path), 8, Mounts()) == ""
    file.write_bytes(shortcut(9, b"")[:30])
    assert records.shortcut_name(str(tmp_path), 9, Mounts()) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="files of root")
def test_an_upgraded_program_is_roots_if_root_alone_could_have_put_it_there(tmp_path: Path) -> None:
    """The name is gone; a file that its user made and removed is not root's."""
    folder = Path("/usr/lib/scx-gamer-test")
    folder.mkdir()
    try:
        for owner in (0, 1000):
            program = folder / "pipewire"
            shutil.copy(os.path.realpath(shutil.which("sleep") or "sleep"), program)
            os.chown(program, owner, owner)
            with running([program, "100"]) as process:
                proc = ProcFs()
                wait_for_exec(process.pid, program)
                assert (known := proc.read(process.pid)) and proc.is_roots(known) == (owner == 0)
                program.unlink()
                gone = proc.read(process.pid)
                assert gone is not None and gone.exe.endswith(" (deleted)")
                assert proc.is_roots(gone) == (owner == 0)
    finally:
        shutil.rmtree(folder)


def wait_for_exec(pid: int, program: Path) -> None:
    until_s = time.monotonic() + 10
    while os.readlink(f"/proc/{pid}/exe") != str(program):
        assert time.monotonic() < until_s
        time.sleep(0.01)

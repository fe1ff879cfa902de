# SPDX-License-Identifier: GPL-2.0-or-later
"""The drop-in of a game's profile: what `profiles` reads of it, and that nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scx_gamer.profiles import Game, load
from scx_gamer.tune import dropin, store
from scx_gamer.tune.course import Course
from scx_gamer.tune.subject import Subject, subject_of
from tests.processes import running
from tests.unit.profiles.support import LIMITS
from tests.unit.tune.test_course import kept

RING = Subject("ELDEN RING", 1245620, "", "Steam build 9")
DOOM = Subject("", 0, 'Doom "2".exe', "")


@pytest.mark.parametrize(
    ("subject", "game"), [(RING, Game(1245620)), (DOOM, Game(0, "/opt/Doom \"2\".exe"))]
)  # fmt: skip
def test_a_game_without_a_profile_gets_one(tmp_path: Path, subject: Subject, game: Game) -> None:
    name = dropin.own_profile(subject)
    dropin.put(tmp_path, name, subject, {"home": kept(0, 1), "slice_us": kept(1500, 3000)})
    found = load(LIMITS, tmp_path / "none", tmp_path)
    assert not found.errors
    matched = found.find([game])
    assert matched is not None
    assert matched.profile.name == name
    assert matched.profile.tunables == {"home": 0, "slice_us": 1500}
    assert matched.profile.why["tunables.slice_us"] == (
        "1 % low +20 % (10 to 30) against 3000, sure, in 14 pairs of blocks, 2026-01-01 to 2026-01-02;"
        " kernel 7.2, build 1, scx-gamer 1.0"
    )
    assert (tmp_path / f"{name}.toml.d/90-tuned.toml").stat().st_mode & 0o777 == 0o644
    dropin.put(tmp_path, name, subject, {})
    assert not list(tmp_path.iterdir())


def test_the_supervisor_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        dropin.put(tmp_path / "etc/profiles", "ring", RING, {"home": kept(0, 1)})
    finally:
        os.umask(before)
    made = list(tmp_path.rglob("*"))
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_dir()} == {"0o755"}
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_file()} == {"0o644"}


def test_the_same_again_writes_nothing(tmp_path: Path) -> None:
    """Each write is a reload of all profiles, and `tune` puts the drop-in before each pair."""
    name = dropin.own_profile(RING)
    dropin.put(tmp_path, name, RING, {"home": kept(0, 1)})
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    before = [path.stat().st_ino for path in files]
    dropin.put(tmp_path, name, RING, {"home": kept(0, 1)})
    assert [path.stat().st_ino for path in files] == before
    dropin.put(tmp_path, name, RING, {"home": kept(1, 0)})
    assert [path.stat().st_ino for path in files] != before


def test_an_administrators_files_stay(tmp_path: Path) -> None:
    (tmp_path / "ring.toml").write_text("[match]\nappid = [1245620]\n")
    other = tmp_path / "ring.toml.d/95-mine.toml"
    other.parent.mkdir()
    other.write_text("[tunables]\nslice_us = 2000\n")
    dropin.put(tmp_path, "ring", RING, {"slice_us": kept(1500, 3000)})
    assert load(LIMITS, tmp_path / "none", tmp_path).get("ring").tunables == {"slice_us": 2000}
    dropin.put(tmp_path, "ring", RING, {})
    assert sorted(p.name for p in tmp_path.rglob("*.toml")) == ["95-mine.toml", "ring.toml"]
    own = tmp_path / f"{dropin.own_profile(RING)}.toml"
    own.write_text("# changed by hand\n[match]\nappid = [1245620]\n")
    dropin.put(tmp_path, own.stem, RING, {"slice_us": kept(1500, 3000)})
    dropin.put(tmp_path, own.stem, RING, {})
    assert own.read_text().startswith("# changed by hand")


# ---- the game ----


@contextmanager
def process_in(folder: Path) -> Iterator[int]:
    """A process that waits in a folder until the block ends."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with running(command, cwd=folder, stdin=subprocess.PIPE) as process:
        yield process.pid


def test_an_update_by_steam_is_another_version(tmp_path: Path) -> None:
    apps = tmp_path / "steamapps"
    with process_in(apps / "common/Some Game/bin") as pid:
        manifest = apps / "appmanifest_7.acf"
        for build in (41, 42):
            manifest.write_text(f'"AppState"\n{{\n\t"appid"\t\t"7"\n\t"buildid"\t\t"{build}"\n}}\n')
            found = subject_of(pid, "Some Game", "7")
            assert (found.key, found.version) == ("appid 7", f"Steam build {build}")
        manifest.unlink()
        assert subject_of(pid, "Some Game", "7").version.startswith("program of ")


def test_without_steam_the_program_is_the_version(tmp_path: Path) -> None:
    with process_in(tmp_path / "game") as pid:
        found = subject_of(pid, "Some Game", "")
    program = Path(sys.executable).resolve()
    assert found.key == f"exe {program.name}"
    assert found.version.startswith(f"program of {program.stat().st_size} bytes from 20")
    gone = subject_of(pid, "Some Game", "")
    assert (gone.program, gone.version) == ("Some Game", "")


def test_a_game_of_any_name_is_found_again(tmp_path: Path) -> None:
    """Its course would be lost if the name under which it was saved changed when it is read."""
    path = tmp_path / "tuning.json"
    for name in ("doom", "a\\b", "a\x7fb", "a\nb", "é…", "x" * 1000, "\\" * 1000, "\udce9"):
        key = subject_of(0, name, "").key
        store.save(path, {key: Course("7.2", "")})
        assert list(store.load(path)) == [key]

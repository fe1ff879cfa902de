# SPDX-License-Identifier: GPL-2.0-or-later
"""`/proc` text: what kernels write, what they never write, and what a process may put in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.games import lists as detect
from scx_gamer.games.commandline import read as read_words
from scx_gamer.games.desktop import desktop_games, parse_entry
from scx_gamer.games.proc import (
    ENV_KEYS,
    Process,
    ProcFs,
    Tree,
    parse_environ,
    split_nul,
)
from scx_gamer.games.rules import reaper_app_id
from scx_gamer.games.tracker import Tracker
from tests.unit.games.trees import FakeProc


def test_a_zombie_is_no_process() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert ProcFs().read(child) is None
    finally:
        os.waitpid(child, 0)


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_others(raw: bytes) -> None:
    assert all("\0" not in part for part in split_nul(raw))
    assert set(parse_environ(raw)) <= ENV_KEYS


def test_variables_are_found_at_both_ends_and_capped() -> None:
    raw = b"GAMEID=a\0XGAMEID=b\0APPIMAGE=" + b"x" * 9000 + b"\0WINEPREFIX=/p"
    found = parse_environ(raw)
    assert found["GAMEID"] == "a" and found["WINEPREFIX"] == "/p" and len(found["APPIMAGE"]) == 512


@given(st.lists(st.text(max_size=30), max_size=8), st.text(max_size=15), st.text(max_size=40))
def test_no_command_line_crashes_a_rule(argv: list[str], comm: str, exe: str) -> None:
    process = Process(2, 1, 1, comm, tuple(argv), exe)
    data = detect.load(Path(__file__).parents[3] / "profiles" / "detect.toml")
    proc = FakeProc()
    proc.processes[2] = process
    track = Tracker(proc, data)
    track.reconcile(0.0)
    assert all(g.decision.evidence for g in track.games)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("AppId=440", 440),
        ("AppId=18446744073709551615", 2**64 - 1),
        ("AppId=18446744073709551616", None),
        ("AppId=-1", None),
        ("AppId=", None),
        ("AppId=\uff14\uff14\uff10", None),
        ("AppId=0", None),
    ],
)
def test_app_id_is_a_u64(argument: str, expected: int | None) -> None:
    process = Process(2, 1, 1, "reaper", ("reaper", "SteamLaunch", argument, "--", "AppId=7"))
    words = read_words(process.exe, process.argv, process.comm, ())
    assert reaper_app_id(process, words) == expected


def test_the_real_proc_knows_this_process_and_forgets_a_dead_one() -> None:
    proc = ProcFs()
    me = proc.read(os.getpid())
    assert me is not None and me.ppid == os.getppid() and me.argv and not me.kthread
    child = subprocess.Popen(["true"])
    child.wait()
    assert proc.read(child.pid) is None
    assert proc.has_render_node(child.pid) is False


def test_a_tree_with_a_loop_ends() -> None:
    loop = Tree([Process(2, 3, 1, "a"), Process(3, 2, 1, "b")])
    first = loop.get(2)
    assert first is not None
    assert [p.pid for p in loop.ancestors(first)] == [3]
    assert [p.pid for p in loop.descendants(2)] == [3]


@given(st.text(max_size=300))
def test_no_desktop_entry_crashes(text: str) -> None:
    parse_entry("[Desktop Entry]\n" + text)


def test_only_games_with_a_program_of_their_own_count(tmp_path: Path) -> None:
    entry = "[Desktop Entry]\nType=Application\nName={}\nExec={} %U\nCategories={};\n"
    (tmp_path / "a.desktop").write_text(entry.format("Listing", "ls", "Game;ActionGame"))
    (tmp_path / "b.desktop").write_text(entry.format("Editor", "cat", "Utility"))
    (tmp_path / "c.desktop").write_text(
        entry.format("Through Steam", "steam steam://run/1", "Game")
    )
    found = desktop_games([tmp_path])[0]
    assert {entry.name for entry in found.programs.values()} == {"Listing"}
    assert "/usr/bin/ls" in found.programs and "/usr/bin/cat" in found.others


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("helper = ['x']", "unknown key 'helper'"),
        ("helpers = 'x'", "helpers: must be a list of str"),
        ("steam_no_game_appids = ['1']", "must be a list of int"),
        ("helpers = [", "Invalid"),
    ],
)
def test_bad_detection_data_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "detect.toml"
    path.write_text(text)
    with pytest.raises(detect.DetectDataError, match=str(path)) as caught:
        detect.load(path)
    assert says.split()[0] in str(caught.value)


def test_a_drop_in_adds_and_takes_away(tmp_path: Path) -> None:
    vendor, drop_in = tmp_path / "v.toml", tmp_path / "d.toml"
    vendor.write_text('tools = ["obs", "vkcube"]\n')
    drop_in.write_text('tools = ["-OBS", "MyTool"]\n')
    assert detect.load(vendor, [drop_in]).tools == ("vkcube", "mytool")


@pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of another user")
@pytest.mark.parametrize("gpu", [True, False])
def test_a_gpu_of_another_users_process_is_seen_without_reading_closed_files(
    gpu: bool, tmp_path: Path
) -> None:
    """With CAP_SYS_PTRACE alone, as the unit has it, /proc/PID/fd is closed and /proc/PID/maps is not."""
    (tmp_path / "7").mkdir()
    line = "7f0000000000-7f0000100000 rw-s 100000000 00:06 501 "
    mapped = "/dev/dri/renderD128" if gpu else "/home/u/dev/dri/renderD128"
    (tmp_path / "7/maps").write_text(f"{line}{mapped}\n")
    (tmp_path / "7/fd").mkdir(mode=0)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    proc = ProcFs(tmp_path)
    os.seteuid(65534)
    try:
        assert proc.has_render_node(7) is gpu
    finally:
        os.seteuid(0)

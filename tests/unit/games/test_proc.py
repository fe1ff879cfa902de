# SPDX-License-Identifier: GPL-2.0-only
"""`/proc` text: what kernels write, what they never write, and what a process may put in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.games import lists as detect
from scx_gamer.games.desktop import desktop_games, parse_entry
from scx_gamer.games.proc import (
    MAX_TEXT_OF_USER,
    MAX_VALUE,
    Process,
    ProcFs,
    Tree,
    parse_environ,
    split_nul,
)
from scx_gamer.games.rules import Context, decide, reaper_app_id


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
    assert set(parse_environ(raw)) <= {
        "SteamAppId",
        "SteamGameId",
        "STEAM_COMPAT_APP_ID",
        "GAMEID",
        "UMU_ID",
        "WINEPREFIX",
        "LUTRIS_GAME_UUID",
    }


@given(st.lists(st.text(max_size=30), max_size=8), st.text(max_size=15), st.text(max_size=40))
def test_no_command_line_crashes_a_rule(argv: list[str], comm: str, exe: str) -> None:
    process = Process(2, 1, 1, comm, tuple(argv), exe)
    data = detect.load(Path(__file__).parents[3] / "profiles" / "detect.toml")
    decision = decide(process, Context(Tree([process]), data, {}, {}, {}))
    assert decision is None or decision.evidence


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
    assert reaper_app_id(process) == expected


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
    assert set(found.values()) == {"Listing"} and "/bin/ls" in {*found} | {"/usr/bin/ls"} & {
        *found
    } | {"/bin/ls"}


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


def test_a_variable_of_128_kilobytes_is_cut() -> None:
    found = parse_environ(b"GAMEID=" + b"\x01" * (128 << 10))
    assert len(found["GAMEID"]) == MAX_VALUE


def test_the_text_of_one_user_is_bounded_and_costs_no_other_his_games() -> None:
    """Ten thousand processes with long command lines: what is kept of them, and of the next user's."""
    tree = Tree(())
    argv = tuple(f"{n:03}" for n in range(1000))
    for pid in range(1000, 11_000):
        tree.put(Process(pid, 1, pid, "x", argv, "/x", uid=1000))
    tree.put(Process(2, 1, 2, "game", ("game", "--fullscreen"), "/g/game", uid=1001))
    kept = sum(process.text_bytes for process in tree)
    assert len(tree) == 10_001
    assert kept < MAX_TEXT_OF_USER + 10_000 * 512
    mine = tree.get(2)
    assert mine is not None and mine.argv == ("game", "--fullscreen")
    for pid in range(1000, 11_000):
        tree.remove(pid)
    tree.put(Process(3, 1, 3, "x", argv, "/x", uid=1000))
    assert tree.get(3) == Process(3, 1, 3, "x", argv, "/x", uid=1000)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded trees: the right game, the right tree, the right class, or none."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from scx_gamer.games import lists as detect
from scx_gamer.games.explain import explain
from scx_gamer.games.tracker import GRACE_S, Tracker
from tests.unit.games import trees

DATA = detect.load(Path(__file__).parents[3] / "profiles" / "detect.toml")


def tracker(*texts: str, desktop: dict[str, str] | None = None) -> tuple[Tracker, trees.FakeProc]:
    proc = trees.FakeProc(*texts)
    return Tracker(proc, DATA, desktop), proc


@pytest.mark.parametrize(
    ("text", "rule", "main", "name"),
    [
        (trees.STEAM_PROTON, "steam", 133, "g"),
        (trees.STEAM_NATIVE, "steam", 152, "g"),
        (trees.STEAM_SHORTCUT, "steam", 171, "thing"),
        (trees.UMU, "proton", 303, "Game"),
        (trees.LUTRIS, "launcher", 402, "Quake"),
        (trees.HEROIC, "launcher", 503, "Sugar"),
        (trees.BOTTLES_FLATPAK, "launcher", 602, "Ori"),
        (trees.GAMESCOPE, "gamescope", 702, "supertuxkart"),
        (trees.PLAIN_WINE, "wine", 801, "winmine"),
        (trees.DOOM, "desktop-entry", 1001, "Chocolate Doom"),
    ],
)
def test_a_game_is_found_with_its_rule_and_main_process(
    text: str, rule: str, main: int, name: str
) -> None:
    track, _ = tracker(
        text, trees.DESKTOP_IDLE, desktop={"/usr/games/chocolate-doom": "Chocolate Doom"}
    )
    track.reconcile(0.0)
    assert [(g.decision.rule, g.main.pid, g.decision.name) for g in track.games] == [
        (rule, main, name)
    ]
    assert track.games[0].decision.evidence


@pytest.mark.parametrize(
    "text",
    [
        trees.STEAM_CLIENT,
        trees.STEAM_UI_IN_GAMESCOPE,
        trees.DESKTOP_IDLE,
        trees.BROWSER_FROM_STEAM,
        trees.COMPILE,
        trees.WINE_CAPTURED,
    ],
)
def test_nothing_else_is_a_game(text: str) -> None:
    track, proc = tracker(text)
    track.reconcile(0.0)
    assert track.games == []
    assert "GAME" not in {a.class_name for a in track.classes.values()}
    assert all(
        explain(track, pid, 7.0)["game"] is False and explain(track, pid, 7.0)["because"]
        for pid in proc.pids()
    )


def test_classes_inside_a_proton_tree() -> None:
    track, _ = tracker(trees.STEAM_PROTON, trees.DESKTOP_IDLE)
    track.reconcile(0.0)
    classes = {pid: a.class_name for pid, a in track.classes.items()}
    assert classes[133] == "GAME"
    assert classes[140] == "CRITICAL", "the game waits for wineserver synchronously"
    assert classes[11] == "CRITICAL" and classes[17] == "CRITICAL"
    assert 110 not in classes and 13 not in classes


def test_the_supervisor_is_critical_with_and_without_a_game() -> None:
    track, proc = tracker(trees.STEAM_NATIVE, trees.DESKTOP_IDLE)
    track.own_pid = 13
    track.reconcile(0.0)
    assert track.classes[13].class_name == "CRITICAL"
    proc.kill(150, 151, 152)
    track.reconcile(1.0)
    assert not track.games and track.classes[13].class_name == "CRITICAL"
    track.exec_seen(13)
    assert 13 not in track.update(2.0).removed
    assert explain(track, 13, 2.0)["class"] == "CRITICAL"


def test_shader_compilation_is_background_with_and_without_a_game() -> None:
    track, proc = tracker(trees.STEAM_NATIVE)
    track.reconcile(0.0)
    assert track.classes[160].class_name == "BACKGROUND"
    proc.kill(150, 151, 152)
    track.reconcile(1.0)
    assert track.classes[160].class_name == "BACKGROUND"


def test_a_desktop_entrys_script_that_became_its_engine_is_the_game() -> None:
    """Both execs were over before `/proc` was read: only the event of the first names the entry's program."""
    entries = {"/usr/games/freedoom1": "Freedoom"}
    for seen in (True, False):
        track, proc = tracker(trees.SCRIPT_ENGINE, desktop=entries)
        if seen:
            track.executed(1101, 11010, "/usr/games/freedoom1")
        track.executed(1101, 11010, "/usr/lib/engine/engine")
        track.exec_seen(1101)
        track.update(0.0)
        assert [g.decision.name for g in track.games] == (["Freedoom"] if seen else [])
    track.executed(1101, 11009, "/usr/games/freedoom1")  # another process had the pid
    track.exec_seen(1101)
    track.update(1.0)
    assert not track.games
    track.executed(1101, 11010, "/usr/games/freedoom1")
    proc.processes[1101] = replace(proc.processes[1101], exe="/usr/lib/firefox/firefox")
    track.exec_seen(1101)
    track.update(2.0)
    assert not track.games, "a script that opens a browser is none"


def test_captured_wine_is_one_game_with_all_its_plumbing_once_it_draws() -> None:
    track, proc = tracker(trees.WINE_CAPTURED)
    track.reconcile(0.0)
    assert track.games == [] and track.waits_to_draw() == [829]
    proc.render.add(829)
    track.ask_again()
    track.update(1.0)
    (game,) = track.games
    assert {pid for pid, _ in game.members} == set(range(820, 830))
    assert track.classes[821].class_name == "CRITICAL"
    assert {track.classes[pid].class_name for pid in range(820, 830) if pid != 821} == {"GAME"}


def test_wine_plumbing_outside_the_tree_joins_by_prefix() -> None:
    track, _ = tracker(trees.PLAIN_WINE)
    track.reconcile(0.0)
    assert {pid for pid, _ in track.games[0].members} == {801, 900, 901}


def test_exec_event_alone_finds_the_game_and_reads_its_parents() -> None:
    track, _ = tracker(trees.STEAM_NATIVE)
    track.exec_seen(152)
    change = track.update(5.0)
    assert [g.decision.root.pid for g in change.started] == [150]
    assert change.assigned[152].class_name == "GAME"


def test_a_launcher_that_hands_over_within_the_grace_is_one_game() -> None:
    track, proc = tracker(trees.STEAM_NATIVE)
    track.reconcile(0.0)
    kept = proc.processes[152]
    proc.kill(151, 152)
    track.exit_seen(151)
    track.exit_seen(152)
    change = track.update(10.0)
    assert change.ended == () and 152 in change.removed, (
        "the boost goes at once, the game stays for its grace"
    )
    assert track.next_deadline_s == 10.0 + GRACE_S
    proc.processes[152] = replace(kept, ppid=150)  # an orphan goes to the reaper
    track.exec_seen(152)
    change = track.update(12.0)
    assert change.started == () and change.ended == () and change.assigned[152].class_name == "GAME"
    assert track.next_deadline_s is None


def test_the_end_of_a_game_is_noticed_after_the_grace() -> None:
    track, proc = tracker(trees.STEAM_NATIVE)
    track.reconcile(0.0)
    proc.kill(150, 151, 152)
    for pid in (150, 151, 152):
        track.exit_seen(pid)
    assert track.update(10.0).ended == ()
    assert track.games == [] and track.active is not None
    change = track.update(10.0 + GRACE_S)
    assert [g.decision.app_id for g in change.ended] == ["440"]
    assert track.active is None


def test_exits_of_others_do_not_end_the_game() -> None:
    track, proc = tracker(trees.STEAM_NATIVE, trees.COMPILE)
    track.reconcile(0.0)
    proc.kill(52)
    track.exit_seen(52)
    change = track.update(1.0)
    assert change.ended == () and change.removed == () and len(track.games) == 1


def test_a_reused_pid_is_not_the_game() -> None:
    track, proc = tracker(trees.DOOM, desktop={"/usr/games/chocolate-doom": "Chocolate Doom"})
    track.reconcile(0.0)
    proc.reuse(1001, "/usr/bin/gcc")
    track.exec_seen(1001)
    change = track.update(1.0)
    assert 1001 in change.removed
    assert [g.decision.name for g in track.update(1.0 + GRACE_S).ended] == ["Chocolate Doom"]


def test_an_explicit_mark_lives_as_long_as_its_process() -> None:
    track, _ = tracker(trees.COMPILE)
    track.reconcile(0.0)
    assert track.add_explicit(51, "games add")
    assert not track.add_explicit(99999, "games add")
    change = track.update(0.0)
    assert change.started[0].decision.rule == "explicit"
    assert {pid for pid, a in track.classes.items() if a.class_name == "GAME"} == {51, 52}
    assert track.remove_explicit(51)
    change = track.update(1.0)
    assert len(change.ended) == 1 and not track.classes


def test_a_mark_inside_a_marked_game_outlives_it() -> None:
    for how in ("taken back", "ended and the parent marked"):
        track, proc = tracker(trees.COMPILE)
        track.reconcile(0.0)
        for pid in (51, 52):
            assert track.add_explicit(pid, "test")
            track.update(1.0)
        assert [g.decision.root.pid for g in track.games] == [51]
        if how == "taken back":
            assert track.remove_explicit(51)
        else:
            proc.kill(51)
            proc.processes[52] = replace(proc.processes[52], ppid=1)
            track.reconcile(2.0)
            track.add_explicit(50, "test")
        track.update(3.0)
        owners = {pid for game in track.games for pid, _ in game.members}
        assert 52 in owners and track.classes[52].class_name == "GAME", how
        assert {p for p, a in track.classes.items() if a.class_name == "GAME"} == owners


def test_the_focused_game_is_the_active_one_and_focus_changes_nothing_else() -> None:
    track, _ = tracker(trees.STEAM_NATIVE, trees.UMU)
    track.reconcile(0.0)
    classes = dict(track.classes)
    track.focus_pid = 152
    assert track.active is not None and track.active.decision.app_id == "440"
    track.focus_pid = 303
    assert track.active is not None and track.active.decision.app_id == "umu-123"
    assert dict(track.classes) == classes


def test_main_process_is_who_draws_whenever_that_begins() -> None:
    track, proc = tracker(
        trees.STEAM_CLIENT
        + """
  150 /s/reaper reaper SteamLaunch AppId=440 -- /g/start
    151 /g/start
      152 /g/engine
      153 /g/reporter
"""
    )
    track.reconcile(0.0)
    proc.render.add(152)
    track.settle(2.1)
    assert track.games[0].main.pid == 152
    proc.render.add(153)
    proc.processes[153] = replace(proc.processes[153], cpu_ticks=900)
    track.settle(301.0)
    assert track.games[0].main.pid == 153, "a launcher left open for five minutes is not the game"
    track.settle(303.0)  # neither has used any CPU since: the newer one
    proc.processes[152] = replace(proc.processes[152], cpu_ticks=50)
    track.settle(305.0)
    assert track.games[0].main.pid == 152


def test_explain_names_rule_evidence_and_lineage() -> None:
    track, _ = tracker(trees.STEAM_PROTON)
    track.reconcile(7.0)
    answer = explain(track, 133, 7.0)
    assert answer["rule"] == "steam" and answer["class"] == "GAME" and answer["since_s"] == 0.0
    assert "AppId=1091500" in str(answer["evidence"])
    assert explain(track, 110, 7.0)["because"] == "steamwebhelper is listed under wrappers"
    assert "holds a render node: no" in str(explain(track, 110, 7.0)["looked_for"])
    assert explain(track, 4242, 7.0)["because"] == "there is no such process"


def test_what_is_known_stays_when_proc_cannot_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    track, proc = tracker(trees.STEAM_NATIVE)
    track.reconcile(0.0)
    known = list(track.tree), track.games

    def no_descriptor() -> list[int]:
        raise OSError(errno.EMFILE, "Too many open files", "/proc")

    monkeypatch.setattr(proc, "pids", no_descriptor)
    with pytest.raises(OSError, match="Too many"):
        list(track.look())
    with pytest.raises(OSError, match="Too many"):
        track.reconcile(1.0)
    assert (list(track.tree), track.games) == known and track.games


def test_a_profile_rescues_from_lists_and_leaves_steam_its_appid() -> None:
    """A program called as a tool: named by a profile it is a game; below a reaper it is Steam's, with the AppID."""
    for text, rule, app_id in (
        ("10 /home/u/g/obs", "profile", ""),
        ("9 /s/reaper reaper SteamLaunch AppId=7 -- /opt/x/obs\n  10 /opt/x/obs", "steam", "7"),
    ):
        track, _ = tracker(text)
        track.reconcile(0.0)
        track.profile = lambda p: (
            "profile obs names its exe obs" if p.exe.endswith("/obs") else None
        )
        track.update(1.0)
        assert [(g.decision.rule, g.decision.app_id, g.main.pid) for g in track.games] == [
            (rule, app_id, 10)
        ]
        assert track.classes[10].class_name == "GAME"


@pytest.mark.parametrize(("source", "games"), [("exec", 1), ("GameMode", 0)])
def test_exec_names_any_program_and_gamemode_no_tool(source: str, games: int) -> None:
    """`gamemoderun` preloads its library into each child of a wrapper; `exec` is the user's word for one program."""
    track, _ = tracker("\n1200 /usr/bin/sleep 300\n")
    track.add_hint(1200, source)
    track.reconcile(0.0)
    assert len(track.games) == games


def test_a_store_in_wine_is_none_before_its_helpers_show_it() -> None:
    """It draws at once; a game that draws is one as soon as a store would have started its browser engine."""
    text = "700 /opt/w/wine64-preloader C:\\Store\\Any.exe @draws\n"
    helper = "  701 /opt/w/wine64-preloader C:\\Store\\Any.exe --type=gpu-process @draws"
    ages = [0.5]
    for later, wanted in ((text + helper, []), (text, [700])):
        ages[0] = 0.5
        track, proc = tracker(text)
        track.age_s = lambda _process: ages[0]
        track.reconcile(0.0)
        assert track.games == [] and track.waits_to_draw() == [700]
        proc.processes |= trees.FakeProc(later).processes
        ages[0] = 5.0
        for pid in proc.pids():
            track.exec_seen(pid)
        track.ask_again()
        track.update(5.0)
        assert [g.main.pid for g in track.games] == wanted


def test_who_submits_to_the_gpu_is_the_main_process() -> None:
    """A launcher's window holds a render node and computes, too."""
    text = (
        "400 /usr/bin/python3.12 lutris-wrapper:~G\n  401 /g/window @draws\n  402 /g/game @draws\n"
    )
    track, _ = tracker(text)
    track.submitters = lambda: {401}
    track.reconcile(0.0)
    assert [g.main.pid for g in track.games] == [401]
    track.submitters = lambda: {402, 7}
    track.settle(1.0)
    assert [g.main.pid for g in track.games] == [402]
    track.submitters = lambda: set[int]()
    track.settle(2.0)
    assert [g.main.pid for g in track.games] == [402], "the newest, as before"

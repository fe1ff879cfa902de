# SPDX-License-Identifier: GPL-2.0-or-later
"""Any order of events and any content of files: no crash, no wrong game, one clear line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scx_gamer.games import lists as detect
from scx_gamer.games.exec_filter import comm_of, names_to_tell
from scx_gamer.games.explain import explain
from scx_gamer.games.proc import Process
from scx_gamer.games.process_events import decode
from scx_gamer.games.tracker import GRACE_S, Tracker
from tests.unit.games.trees import FakeProc

SHIPPED = Path(__file__).parents[3] / "profiles" / "detect.toml"
DATA = detect.load(SHIPPED)
PROGRAMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/usr/bin/bash", ("bash",)),
    ("/usr/games/doom", ("doom",)),
    ("/s/reaper", ("reaper", "SteamLaunch", "AppId=440", "--", "x")),
    ("/g/engine", ("engine",)),
    ("/usr/lib/wine/wine64", ("C:\\g\\Game.exe",)),
    ("/usr/lib/wine/wineserver64", ("wineserver64",)),
    ("/usr/bin/firefox", ("firefox",)),
    ("/usr/bin/pipewire", ("pipewire",)),
    ("/usr/bin/fossilize_replay", ("fossilize_replay",)),
    ("/usr/bin/lutris", ("lutris",)),
)


class Life(RuleBasedStateMachine):
    """Processes come, exec, go and are used again, told or not; the tracker is looked at after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.proc = FakeProc()
        self.proc.processes[1] = Process(1, 0, 1, "init", ("init",), "/sbin/init")
        self.track = Tracker(self.proc, DATA, {"/usr/games/doom": "Doom"})
        self.looking: Iterator[None] | None = None
        self.now = 0.0
        self.ticks = 1
        self.marked: set[int] = set()

    def some(self, number: int) -> int:
        pids = sorted(self.proc.processes)
        return pids[number % len(pids)]

    def look(self, full: bool = False) -> None:
        self.now += 0.5
        change = self.track.reconcile(self.now) if full else self.track.update(self.now)
        assert all(g.running and g.keepers for g in change.started)
        assert not set(change.assigned) & set(change.removed)

    @rule(number=st.integers(0, 99), pid=st.integers(2, 25), program=st.sampled_from(PROGRAMS))
    def start(self, number: int, pid: int, program: tuple[str, tuple[str, ...]]) -> None:
        parent = self.some(number)
        if pid in self.proc.processes or parent == pid:
            return
        self.ticks += 1
        exe, argv = program
        self.proc.processes[pid] = Process(
            pid, parent, self.ticks, exe.rsplit("/", 1)[-1], argv, exe, uid=1000
        )
        self.track.fork_seen(parent, pid, self.ticks)
        self.track.executed(pid, self.ticks, exe)
        self.track.exec_seen(pid)
        self.look()

    @rule(number=st.integers(0, 99), program=st.sampled_from(PROGRAMS))
    def execute(self, number: int, program: tuple[str, tuple[str, ...]]) -> None:
        pid = self.some(number)
        if pid > 1:
            exe, argv = program
            old = self.proc.processes[pid]
            self.proc.processes[pid] = replace(old, exe=exe, argv=argv, comm=exe.rsplit("/", 1)[-1])
            self.track.exec_seen(pid)
            self.look()

    @rule(number=st.integers(0, 99), told=st.booleans())
    def end(self, number: int, told: bool) -> None:
        pid = self.some(number)
        if pid == 1:
            return
        gone = self.proc.processes.pop(pid)
        self.marked.discard(pid)
        for child in list(self.proc.processes.values()):
            if child.ppid == pid:
                self.proc.processes[child.pid] = replace(child, ppid=1)
        if told:
            self.track.exit_seen(pid, gone.start_ticks)
            self.look()
        else:
            self.look(full=True)

    @rule(number=st.integers(0, 99))
    def add(self, number: int) -> None:
        pid = self.some(number)
        if pid == 1:
            return
        if self.track.add_explicit(pid, "test"):
            self.marked.add(pid)
            self.look()
            assert explain(self.track, pid, self.now)["game"]
        else:
            assert self.proc.processes[pid].program == "fossilize_replay"

    @rule(number=st.integers(0, 99))
    def remove(self, number: int) -> None:
        pid = self.some(number)
        known = {key for g in self.track.games for key in g.members}
        if self.track.remove_explicit(pid):
            assert pid in self.marked or any(member == pid for member, _ in known)
            self.marked.discard(pid)
        self.look()

    @rule()
    def wait(self) -> None:
        self.now += GRACE_S
        self.look()
        assert self.track.lingering == bool(self.track.games)

    @rule(pieces=st.integers(0, 8))
    def look_at_some(self, pieces: int) -> None:
        """A look at all, begun now or long ago, goes on a bit; things happen before it does again."""
        if self.looking is None:
            self.looking = self.track.look()
        for _ in range(pieces):
            if next(self.looking, self) is self:
                self.looking = None
                self.now += 0.5
                self.track.commit(self.now)
                return

    @rule()
    def reconcile(self) -> None:
        self.look(full=True)
        found = {(p.identity, p.exe, p.argv) for p in self.track.tree}
        assert found == {(p.identity, p.exe, p.argv) for p in self.proc.processes.values()}
        again = Tracker(self.proc, DATA, {"/usr/games/doom": "Doom"})
        again.reconcile(self.now)
        for kind in ("BACKGROUND",):
            assert classed(again, kind) == classed(self.track, kind)

    @invariant()
    def nothing_impossible(self) -> None:
        living = {p.identity for p in self.proc.processes.values()}
        owners: dict[tuple[int, int], object] = {}
        for game in self.track.games:
            assert game.members and game.members <= living
            for member in game.members:
                assert owners.setdefault(member, game.key) == game.key, "one process in two games"
        for pid, given_class in self.track.classes.items():
            identity = (pid, given_class.start_ticks)
            assert identity in living
            if given_class.class_name == "GAME":
                assert identity in owners
                program = self.proc.processes[pid].program
                marked = pid in self.marked  # the user's word counts before any list
                assert program not in ("fossilize_replay", "pipewire")
                assert program != "firefox" or marked
            if self.proc.processes[pid].program == "fossilize_replay":
                assert given_class.class_name == "BACKGROUND"


def classed(tracker: Tracker, name: str) -> set[int]:
    return {pid for pid, a in tracker.classes.items() if a.class_name == name}


def test_a_game_that_becomes_a_sound_server_is_one() -> None:
    """Its child is the game then, by the claim of its parent."""
    doom = ("/usr/games/doom", ("doom",))
    life = Life()
    life.start(number=0, pid=3, program=doom)
    life.execute(number=1, program=("/usr/bin/pipewire", ("pipewire",)))
    life.start(number=1, pid=2, program=doom)
    assert life.track.classes[3].class_name == "CRITICAL"
    assert life.track.classes[2].class_name == "GAME"


def test_a_game_that_ended_leaves_what_another_has_now() -> None:
    """A marked Wine server has below it a game that becomes a shell: it is the server's now, ended or marked again."""
    shell, server = ("/usr/bin/bash", ("bash",)), ("/usr/lib/wine/wineserver64", ("wineserver64",))
    for again in (False, True):
        life = Life()
        life.start(number=0, pid=2, program=server)
        life.start(number=0, pid=3, program=server)
        life.start(number=1, pid=4, program=("/usr/games/doom", ("doom",)))
        life.add(number=2)
        life.execute(number=3, program=shell)
        life.reconcile()
        life.nothing_impossible()
        if again:
            life.add(number=3)
        else:
            life.end(number=3, told=True)
        life.nothing_impossible()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.tuples(
            st.sampled_from(["tools", "wrappers", "steam_no_game_appids", "nothing"]),
            st.sampled_from(
                ['["a", "-sh"]', "[1]", "1", '"x"', "[[1]]", "{a=1}", '["*"]', "[true]"]
            ),
        ).map(lambda pair: f"{pair[0]} = {pair[1]}\n".encode()),
    )
)
def test_any_detect_file_is_used_or_refused_in_one_line(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.toml")
        path.write_bytes(raw)
        try:
            data = detect.load(SHIPPED, [path])
        except detect.DetectDataError as err:
            assert str(path) in str(err) and "\n" not in str(err)
        else:
            assert "reaper" in data.wrappers


@given(st.binary(max_size=300))
def test_no_datagram_crashes_the_connector(raw: bytes) -> None:
    assert all(kind in ("exec", "fork", "exit") for kind, *_ in decode(raw))


def test_the_kernels_table_has_what_the_rules_look_for() -> None:
    names = names_to_tell(DATA, ["chocolate-doom"], report=1, tree=2, limit=1024)
    assert names.unfiltered == ""
    for program in ("reaper", "proton", "umu-run", "wine64-preloader", "lutris", "chocolate-doom"):
        assert names.flags[comm_of(program)] == 3, program
    for program in (
        "pipewire",
        "fossilize_replay",
        "wineserver64",
        "sway",
        "Xwayland",
        "vrcompositor",
    ):
        assert names.flags[comm_of(program)] & 1, program
    assert (
        not {comm_of(n) for n in ("bash", "gcc", "make", "python3", "bwrap")} & names.flags.keys()
    )
    assert names.flags[b".umu-run-wrappe"] == 3
    assert all(len(name) <= 15 for name in names.flags)


@pytest.mark.parametrize(
    ("data", "limit"),
    [(replace(DATA, critical=(*DATA.critical, "my-*")), 1024), (DATA, 10)],
)
def test_what_the_kernel_cannot_compare_switches_the_filter_off(
    data: detect.DetectData, limit: int
) -> None:
    names = names_to_tell(data, [], report=1, tree=2, limit=limit)
    assert names.unfiltered and not names.flags

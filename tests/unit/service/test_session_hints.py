# SPDX-License-Identifier: GPL-2.0-or-later
"""Hints: of one's own processes, from the session in front, not too many, and never a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scx_gamer.control import ControlError, LimitError
from scx_gamer.service.session_hints import BURST, PER_SECOND, RESULTS, HintError, Hints
from scx_gamer.system import logind
from scx_gamer.system.procfs import uids_of

ME, OTHER = 1000, 1001


class World:
    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.now_ns = 10**12
        self.active: dict[int, bool | None] = {ME: True, OTHER: False}
        self.owners = {ME}
        self.taken: list[tuple[str, int, str]] = []
        self.hints = Hints(
            self.offer, self.active.get, lambda: self.owners, proc=proc, now_ns=lambda: self.now_ns
        )
        self.process(10, ME)
        self.process(11, OTHER)
        self.process(12, ME, effective=0)

    def process(self, pid: int, uid: int, effective: int | None = None) -> None:
        (self.proc / str(pid)).mkdir()
        second = uid if effective is None else effective
        text = f"Name:\tUid: 0 0 0\nUid:\t{uid}\t{second}\t{second}\t{second}\nGid:\t0\t0\t0\t0\n"
        (self.proc / str(pid) / "status").write_text(text)

    def offer(self, source: str, pid: int, kind: str) -> bool:
        self.taken.append((source, pid, kind))
        return True

    def refusal(self, uid: int = ME, **request: Any) -> str:
        with pytest.raises((HintError, LimitError)) as caught:
            self.hints.take(request, uid)
        assert "\n" not in str(caught.value) and not self.taken
        reason = caught.value.reason if isinstance(caught.value, HintError) else "rate"
        assert reason in RESULTS
        return reason


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_own_processes_count(world: World) -> None:
    assert world.hints.take({"kind": "focus", "pid": 10}, ME) == {"used": True}
    world.hints.take({"kind": "focus", "pid": 0}, ME)
    world.hints.take({"kind": "gamemode", "pid": 10}, ME)
    world.hints.take({"kind": "gamemode", "pid": 10, "active": False}, ME)
    kinds = [(pid, kind) for _source, pid, kind in world.taken]
    assert kinds == [(10, "focus"), (0, "focus"), (10, "game"), (10, "game-gone")]
    assert +world.hints.results == {"used": 4}


def test_the_reason_for_an_unknown_focus_is_kept_while_it_holds(world: World) -> None:
    world.hints.take({"kind": "focus", "pid": 0, "why": "no\nextension" + "x" * 500}, ME)
    assert world.hints.focus_why.startswith("no\\x0aextension")
    assert len(world.hints.focus_why) == 160
    world.hints.take({"kind": "gamemode", "pid": 10}, ME)
    assert world.hints.focus_why
    world.taken.clear()
    assert world.refusal(kind="focus", pid=0, why=["x"]) == "malformed"
    assert world.refusal(kind="focus", pid=11) == "owner" and world.hints.focus_why
    world.hints.take({"kind": "focus", "pid": 10}, ME)
    assert world.hints.focus_why == ""


@pytest.mark.parametrize("pid", [11, 12, 99, 2**31 - 1])
def test_of_others_set_uid_or_nobody_they_do_not(world: World, pid: int) -> None:
    assert world.refusal(kind="gamemode", pid=pid) == "owner"
    assert world.refusal(kind="focus", pid=pid) == "owner"


def test_the_session_must_be_in_front(world: World) -> None:
    assert world.refusal(OTHER, kind="gamemode", pid=11) == "session"
    world.active[ME] = None  # nobody can tell
    assert world.hints.take({"kind": "focus", "pid": 10}, ME)


def test_focus_leaves_a_game_of_another_user_alone(world: World) -> None:
    world.owners = {OTHER}
    assert world.refusal(kind="focus", pid=10) == "owner"
    assert world.refusal(kind="focus", pid=0) == "owner"


def test_the_rate_is_each_users_own(world: World) -> None:
    request: dict[str, Any] = {"kind": "focus", "pid": 10}
    for _ in range(int(BURST)):
        world.hints.take(request, ME)
    world.taken.clear()
    assert world.refusal(**request) == "rate"
    assert world.hints.take(request, 0)  # root's
    world.taken.clear()
    world.now_ns += int(1e9 / PER_SECOND) - 1000
    assert world.refusal(**request) == "rate"
    world.now_ns += 2000
    assert world.hints.take(request, ME)


def test_a_refused_hint_costs_as_much(world: World) -> None:
    for _ in range(int(BURST)):
        assert world.refusal(kind="focus", pid=11) == "owner"
    assert world.refusal(kind="focus", pid=10) == "rate"


def test_age(world: World) -> None:
    now = world.now_ns
    assert world.refusal(kind="focus", pid=10, time_ns=now - 6 * 10**9) == "stale"
    assert world.refusal(kind="focus", pid=10, time_ns=now + 2 * 10**9) == "stale"
    assert world.hints.take({"kind": "focus", "pid": 10, "time_ns": now - 10**9}, ME)


_JUNK = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.floats()
    | st.lists(st.integers(), max_size=2)
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    request=st.dictionaries(
        st.sampled_from(["kind", "pid", "active", "source", "time_ns", "op", "path"]),
        _JUNK | st.sampled_from(["focus", "gamemode", 10, 11]),
    ),
    uid=st.sampled_from([ME, OTHER, 0, 65534]),
)
def test_any_request_is_taken_or_refused_in_one_line(
    world: World, request: dict[str, Any], uid: int
) -> None:
    world.now_ns += 10**9
    world.taken.clear()
    try:
        world.hints.take(request, uid)
    except ControlError as err:
        assert "\n" not in str(err) and not world.taken
    else:
        ((_source, pid, _kind),) = world.taken
        assert pid == 0 or uid == 0 or uids_of(pid, world.proc) == {uid}


def test_our_own_uids() -> None:
    import os

    assert uids_of(os.getpid()) == set(os.getresuid()) and not uids_of(2**22 + 1)


def test_where_no_logind_runs_nobody_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logind, "SEATS", tmp_path / "none")
    assert logind.active(ME) is None
    monkeypatch.setattr(logind, "SEATS", tmp_path)
    assert logind.active(ME) is None, "a folder that nobody uses"
    (tmp_path / "seat0").touch()
    assert logind._library() is None or logind.active(4_000_000) is False

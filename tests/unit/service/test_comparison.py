# SPDX-License-Identifier: GPL-2.0-or-later
"""The lease of a comparison: whatever becomes of its client, the scheduler is as before."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.compare.live import LiveStage, TrialFailedError, TrialStage
from scx_gamer.control import ControlError, LimitError
from scx_gamer.frames.model import Frame
from scx_gamer.profiles import ProfileError
from scx_gamer.scheduler.exits import KIND_ERROR_STALL
from scx_gamer.scheduler.machine import State
from scx_gamer.service.comparison import BLAME_S, LEASE_S, MAX_FRAMES, Comparison
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, USAGE
from scx_gamer.system.paths import Paths
from tests.unit.scheduler.test_machine import World

PLAYER = 1000
PID = 4242


@dataclass
class ControlRing:
    source: object | None = "mangohud"
    why: dict[str, str] = field(default_factory=dict)
    listeners: list[Callable[[str, list[Frame]], None]] = field(default_factory=list)

    def subscribe(self, callback: Callable[[str, list[Frame]], None]) -> Callable[[], None]:
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def tell(self, source: str, *ends: int) -> None:
        for listener in self.listeners:
            listener(source, [Frame(end, 10) for end in ends])


class Place:
    """A supervisor's machine and its comparison, with a game of the player's."""

    def __init__(self, folder: Path) -> None:
        paths = Paths(folder / "run", folder / "state", folder / "etc")
        paths.create()
        self.world = World(paths)
        self.machine = self.world.machine()
        self.machine.start(True)
        self.feed = ControlRing()
        self.games: list[dict[str, object]] = [{"pid": PID}]
        self.owners = {PLAYER}
        self.mode = "auto"
        self.tried: list[dict[str, object]] = []
        self.comparison = Comparison(
            self.world.clock,
            self.machine,
            lambda: self.feed,
            lambda: self.games,
            lambda: self.owners,
            lambda: self.mode,
            self.try_out,
        )

    def try_out(self, tunables: Mapping[str, object]) -> dict[str, int]:
        if set(tunables) - {"home"}:
            raise ProfileError("trial", "unknown key", "known keys: home")
        self.tried.append(dict(tunables))
        return {name: int(str(value)) for name, value in tunables.items()}

    def hold(self, uid: int = PLAYER, **request: Any) -> dict[str, Any]:
        wanted = {"id": "me", "paused": False, "pair": 1, "pid": PID, **request}
        return self.comparison.hold(wanted, uid)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refused(place: Place, **request: Any) -> ControlError:
    with pytest.raises(ControlError) as error:
        place.hold(**request)
    return error.value


def test_a_client_pauses_and_resumes(place: Place) -> None:
    assert place.comparison.facts() is None
    assert place.hold(begin=True)["state"] == "attached"
    assert place.hold(paused=True, pair=2)["state"] == "paused"
    assert len(place.world.kernel.lives) == 1
    assert place.world.kernel.lives[0].closed == 1
    place.world.clock.advance(2)
    facts = place.comparison.facts()
    assert facts == {"pid": PID, "side": "without", "trial": {}, "pair": 2, "since_s": 2.0}
    assert place.hold()["state"] == "attached"
    assert place.comparison.release({"id": "me"}, PLAYER) == {"state": "attached"}
    assert place.comparison.facts() is None
    assert not place.feed.listeners


@pytest.mark.parametrize("paused", [False, True])
def test_a_client_that_is_gone_loses_its_lease(place: Place, paused: bool) -> None:
    place.hold(begin=True)
    place.hold(paused=paused)
    place.world.clock.advance(LEASE_S - 1)
    place.hold(paused=paused)
    place.world.clock.advance(LEASE_S - 1)
    assert place.comparison.facts() is not None
    place.world.clock.advance(2)
    assert place.comparison.facts() is None
    assert place.machine.state is State.ATTACHED
    assert not place.feed.listeners
    assert "not heard of" in str(refused(place, paused=True))
    assert place.machine.state is State.ATTACHED


def test_an_end_amid_a_pause_attaches(place: Place) -> None:
    place.hold(begin=True)
    place.hold(paused=True)
    place.comparison.release({"id": "somebody"}, PLAYER)
    assert place.machine.state is State.PAUSED
    place.comparison.release({"id": "me"}, PLAYER)
    assert place.machine.state is State.ATTACHED


def test_the_end_of_the_supervisor_attaches_nothing_and_leaves_no_trace(place: Place) -> None:
    place.hold(begin=True)
    place.hold(paused=True)
    place.machine.close()
    place.comparison.close()
    place.world.clock.advance(LEASE_S + 1)
    assert len(place.world.kernel.lives) == 1
    after = place.world.machine()
    after.start(True)
    assert after.state is State.ATTACHED


def test_the_end_of_the_game_ends_the_pause(place: Place) -> None:
    place.hold(begin=True)
    place.hold(paused=True)
    place.games.clear()
    place.machine.set_wanted(False, "no game any more")
    assert place.machine.state is State.IDLE
    assert "no game that runs" in str(refused(place, paused=True))
    place.world.clock.advance(LEASE_S + 1)
    assert place.machine.state is State.IDLE


@pytest.mark.parametrize("act", ["user_stop", "user_start", "user_restart"])
def test_the_user_has_the_last_word(place: Place, act: str) -> None:
    place.hold(begin=True)
    place.hold(paused=True)
    getattr(place.machine, act)()
    wanted = place.machine.state
    assert wanted is (State.OFF if act == "user_stop" else State.ATTACHED)
    assert "meanwhile" in str(refused(place, paused=True))
    place.world.clock.advance(LEASE_S + 1)
    assert place.machine.state is wanted


def test_an_error_of_the_scheduler_ends_it(place: Place) -> None:
    place.hold(begin=True)
    place.world.end(place.machine, KIND_ERROR_STALL)
    assert "backoff meanwhile" in str(refused(place))
    assert place.comparison.facts() is None


def test_what_cannot_begin_says_why(place: Place) -> None:
    other = refused(place, begin=True, pid=7)
    assert (other.code, "no game" in str(other)) == (FAILED, True)
    place.feed.source, place.feed.why = None, {"mangohud": "no log"}
    assert "no source tells the frames of this game; mangohud: no log" in str(
        refused(place, begin=True)
    )
    place.feed.source = "mangohud"
    place.games.append({"pid": 8})
    assert "another game runs too" in str(refused(place, begin=True))
    del place.games[1]
    place.machine.user_stop()
    assert "the scheduler is off" in str(refused(place, begin=True))
    place.machine.user_start()
    place.hold(begin=True)
    second = refused(place, begin=True, id="another")
    assert "runs already" in str(second)
    assert place.comparison.facts() is not None


def test_only_the_player_and_root_may(place: Place) -> None:
    assert refused(place, uid=1001, begin=True).code == NO_PERMISSION
    place.mode = "always"
    assert refused(place, begin=True).code == NO_PERMISSION
    assert place.hold(uid=0, begin=True)["state"] == "attached"


def test_a_users_pauses_are_bounded_and_roots_are_not(place: Place) -> None:
    """Each costs a detach and an attach, during which the supervisor serves nobody."""
    for number in range(30):
        try:
            place.hold(id=str(number), begin=True)
            place.hold(id=str(number), paused=True)
        except LimitError:
            break
        place.comparison.release({"id": str(number)}, PLAYER)
        place.world.clock.advance(0.1)
    assert number == 4
    assert place.machine.state is State.ATTACHED
    assert place.comparison.facts() is None
    place.world.clock.advance(6)
    place.hold(begin=True)
    assert place.hold(paused=True)["state"] == "paused"
    for _ in range(10):
        place.hold(uid=0)
        assert place.hold(uid=0, paused=True)["state"] == "paused"


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "x" * 65},
        {"id": 5},
        {"paused": 1},
        {"begin": "yes"},
        {"pair": -1},
        {"pair": True},
        {"pair": 1 << 31},
        {"begin": True, "pid": 0},
        {"trial": ["home"]},
        {"trial": {"home": 0}, "paused": True},
    ],
)
def test_a_malformed_request_is_refused(place: Place, wrong: dict[str, Any]) -> None:
    assert refused(place, **wrong).code == USAGE
    assert place.comparison.facts() is None


def test_frames_are_handed_over_once_of_one_source_and_bounded(place: Place) -> None:
    place.hold(begin=True)
    place.feed.tell("mangohud", 1, 2)
    place.feed.tell("mangohud", 3)
    answer = place.hold()
    assert answer["source"] == "mangohud"
    assert answer["frames"] == [[1, 10], [2, 10], [3, 10]]
    assert place.hold()["frames"] == []
    place.feed.tell("mangohud", 4)
    place.feed.tell("scheduler", 5)
    assert place.hold()["frames"] == [[5, 10]]
    place.feed.tell("scheduler", *range(MAX_FRAMES + 5))
    frames = place.hold()["frames"]
    assert len(frames) == MAX_FRAMES
    assert frames[-1] == [MAX_FRAMES + 4, 10]


def test_the_client_switches_reads_and_restores(place: Place) -> None:
    def request(op: str, **args: Any) -> dict[str, Any]:
        if op == "compare_end":
            return place.comparison.release(args, PLAYER)
        return place.comparison.hold(args, PLAYER)

    with LiveStage(request, PID) as stage:
        place.feed.tell("mangohud", 1)
        assert stage.read() is None  # a source, after none
        place.feed.tell("mangohud", 2)
        assert stage.read() == [Frame(2, 10)]
        stage.switch(False, 3)
        assert place.machine.state is State.PAUSED
        place.feed.tell("scheduler", 3)
        assert stage.read() is None
        assert stage.source == "scheduler"
    assert place.machine.state is State.ATTACHED
    assert place.comparison.facts() is None


@pytest.mark.parametrize("end", ["release", "lease", "game", "close"])
def test_a_trial_does_not_outlive_its_client(place: Place, end: str) -> None:
    place.hold(uid=0, begin=True)
    place.hold(uid=0, trial={"home": 0})
    place.hold(uid=0, trial={"home": 0})
    facts = place.comparison.facts()
    assert facts is not None
    assert (facts["side"], facts["trial"]) == ("with", {"home": 0})
    assert place.tried == [{"home": 0}]
    if end == "release":
        place.comparison.release({"id": "me"}, 0)
    elif end == "lease":
        place.world.clock.advance(LEASE_S + 1)
    elif end == "game":
        place.games.clear()
        refused(place, uid=0)
    else:
        place.comparison.close()
    assert place.tried == [{"home": 0}, {}]
    assert len(place.world.kernel.lives) == 1  # nothing was detached


@pytest.mark.parametrize("after", ["at once", "in the next block", "at the end"])
def test_an_error_under_a_trial_is_the_trials(place: Place, after: str) -> None:
    place.hold(uid=0, begin=True)
    place.hold(uid=0, trial={"home": 0})
    place.world.clock.advance(LEASE_S - 1)
    if after != "at once":
        place.hold(uid=0)
        place.world.clock.advance(LEASE_S - 1)
    if after == "at the end":
        place.comparison.release({"id": "me"}, 0)
        place.world.clock.advance(LEASE_S)
    assert place.comparison.scheduler_failed()
    assert place.tried == [{"home": 0}, {}]
    assert place.comparison.facts() is None
    assert place.hold(uid=0) == {"failed": {"home": 0}}
    assert not place.comparison.scheduler_failed()  # it ended the scheduler once


@pytest.mark.parametrize("tried", [False, True])
def test_another_error_is_not_a_trials(place: Place, tried: bool) -> None:
    place.hold(uid=0, begin=True)
    place.hold(uid=0, trial={"home": 0} if tried else {})
    place.hold(uid=0)
    for _ in range(int(BLAME_S) + 1):
        place.world.clock.advance(1)
        place.hold(uid=0)
    assert not place.comparison.scheduler_failed()
    assert place.comparison.facts() is not None


def test_whatever_happens_in_any_order_all_is_as_without_it(tmp_path: Path) -> None:
    """Beside a twin that knows no comparison. Errors and users come at any moment, and the client may go at any."""
    ended: Counter[State] = Counter()
    for seed in range(25):
        chance = random.Random(seed)
        place, twin = (Place(tmp_path / f"{seed} {name}") for name in ("compared", "twin"))
        for _ in range(chance.randrange(1, 30)):
            match chance.randrange(10):
                case 0:
                    act = chance.choice(["user_stop", "user_start", "user_restart"])
                    for one in (place, twin):
                        getattr(one.machine, act)()
                case 1:
                    plays = chance.random() < 0.7
                    for one in (place, twin):
                        one.games = [{"pid": PID}] if plays else []
                        one.machine.set_wanted(plays, "a game began or ended")
                case 2 if place.machine.state is twin.machine.state is State.ATTACHED:
                    place.comparison.scheduler_failed()
                    for one in (place, twin):
                        one.world.end(one.machine, KIND_ERROR_STALL)
                case 3:
                    place.comparison.release({"id": "me"}, 0)
                case 4 | 5:
                    seconds = chance.uniform(0, 2 * LEASE_S)
                    for one in (place, twin):
                        one.world.clock.advance(seconds)
                case _:
                    sides: list[dict[str, Any]] = [{"paused": True}, {}, {"trial": {"home": 0}}]
                    with suppress(ControlError):
                        place.hold(
                            uid=0, begin=place.comparison.facts() is None, **chance.choice(sides)
                        )
        for one in (place, twin):
            one.world.clock.advance(600)
        assert place.comparison.facts() is None, seed
        assert not place.tried or place.tried[-1] == {}, seed
        assert not place.feed.listeners, seed
        assert place.machine.state is twin.machine.state, seed
        ended[place.machine.state] += 1
    assert ended.keys() >= {State.ATTACHED, State.IDLE, State.OFF}


def test_trials_are_roots_alone_and_are_checked(place: Place) -> None:
    place.hold(begin=True)
    assert refused(place, trial={"home": 0}).code == NO_PERMISSION
    assert refused(place, uid=0, trial={"slise": 0}).code == USAGE
    assert place.tried == []
    assert place.comparison.facts() is not None


def test_the_client_of_a_trial_switches_and_restores(place: Place) -> None:
    def request(op: str, **args: Any) -> dict[str, Any]:
        return getattr(place.comparison, {"compare": "hold"}.get(op, "release"))(args, 0)  # type: ignore[no-any-return]

    with TrialStage(request, PID) as stage:
        stage.trial = {"home": 0}
        stage.switch(False, 1)
        stage.switch(True, 1)
        stage.read()
        stage.trial = {"home": 1}
        stage.switch(True, 2)
        assert place.comparison.scheduler_failed()
        with pytest.raises(TrialFailedError, match="failed while home = 1 was tried") as error:
            stage.read()
        assert error.value.trial == {"home": 1}
    assert place.tried == [{"home": 0}, {"home": 1}, {}]
    assert place.machine.state is State.ATTACHED

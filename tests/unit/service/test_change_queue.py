# SPDX-License-Identifier: GPL-2.0-or-later
"""One change has each consequence once: the supervisor with its real profiles and state machine, on a fake kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.profiles import Game
from scx_gamer.scheduler.errors import AttachFailed
from scx_gamer.scheduler.exits import KIND_ERROR, ExitRecord
from scx_gamer.scheduler.machine import Machine, State
from scx_gamer.service.active_profile import FAILURES, ActiveProfile
from scx_gamer.service.comparison import Comparison
from scx_gamer.service.services import Services
from scx_gamer.service.supervisor import Supervisor
from scx_gamer.system.paths import Paths
from tests.unit.profiles.support import LIMITS, constants

NETWORK = {
    "enabled": True, "down": "8 Mbit/s", "up": "unlimited", "scope": "internet", "kind": "cgroup",
    "targets": ["app:Backup"], "protected": [],
}  # fmt: skip


class OnAnyKernel(Supervisor):
    """The tests run where the kernel may lack sched_ext."""

    def unsupported(self) -> None: ...


@dataclass
class World:
    """The parts around the supervisor, each of which records the calls it gets in `calls`."""

    calls: list[str] = field(default_factory=list)
    games: list[Game] = field(default_factory=list)
    generation: int = 0
    attach_fails: bool = False
    error: ExitRecord | None = None  # under which the scheduler has ended
    power: str = ""
    resources: dict[str, int] = field(default_factory=dict)
    source_watched: bool | None = None

    # games
    @property
    def wanted(self) -> bool:
        return bool(self.games)

    def facts(self) -> list[Game]:
        return self.games

    def listing(self) -> list[dict[str, object]]:
        return [{"pid": game.appid} for game in self.games]

    def tell_all(self) -> None: ...

    def use_profiles(self, _profiles: object) -> None: ...

    # frames
    source = "mangohud"
    why: ClassVar[Mapping[str, str]] = {}

    def games_changed(self) -> None: ...

    def subscribe(self, _callback: object) -> Callable[[], None]:
        return self.flush

    # games and sessions
    def unended(self) -> list[Game]:
        return self.games

    def update(self, games: list[Game]) -> None:
        self.calls.append(f"sessions {len(games)}")

    # network
    def apply(self, _settings: object, running_game: bool) -> None:
        self.calls.append(f"limits {running_game}")

    # observer
    @property
    def feed(self) -> World:
        return self

    def set_generation(self, generation: int) -> None: ...

    def send(self, type_name: str, **fields: int) -> bool:
        if type_name == "TUNABLE" and fields["index"] == constants()["SCXG_TUN_SLICE_US"]:
            self.calls.append(f"slice {fields['value']}")
        return True

    def flush(self) -> None: ...

    # generations
    def attach(self, generation: int) -> World:
        self.calls.append("attach")
        if self.attach_fails:
            raise AttachFailed(ExitRecord(KIND_ERROR, 0, generation, "init failed"))
        self.generation = generation
        return self

    def ended(self) -> ExitRecord | None:
        error, self.error = self.error, None
        return error

    def close(self) -> None:
        self.calls.append("detach")

    # bus
    def hold_power(self, profile: str) -> None:
        self.power = profile

    def hold_resources(self, settings: Mapping[str, int]) -> None:
        self.resources = dict(settings)

    def watch_power_source(self, wanted: bool) -> None:
        self.source_watched = wanted

    def publish(self) -> None: ...

    # status and its publication
    def status(self) -> dict[str, object]:
        return {}

    def boosts_enabled(self) -> None: ...

    def write(self, _status: Mapping[str, Any], _hud: str) -> None:
        self.calls.append("publish")

    def take(self) -> list[str]:
        """The calls since the last time."""
        calls, self.calls[:] = list(self.calls), []
        return calls


class Daemon:
    def __init__(self, folder: Path, *games: Game) -> None:
        vendor, admin = folder / "vendor", folder / "etc"
        for path in (vendor, admin):
            path.mkdir()
        (vendor / "auto.toml").write_text("")
        (vendor / "fast.toml").write_text("[match]\nappid = [5]\n[tunables]\nslice_us = 1000\n")
        (vendor / "keen.toml").write_text('mode = "always"\n')
        self.world = World(games=list(games))
        anything = cast(Any, self.world)
        paths = Paths(folder / "run", folder / "state", admin)
        paths.create()
        sup = OnAnyKernel(SupervisorOptions(), paths)
        sup.store.load()
        base = SupervisorOptions("auto", network=NETWORK)
        machine = Machine(SupervisorOptions(), sup, sup.loop, sup.store, "boot", sup._state_changed)
        profile = ActiveProfile(
            anything, constants(), LIMITS, base, lambda: base, sup._changes.profile_changed,
            (vendor, admin),
        )  # fmt: skip
        profile.start("")
        self.comparison = Comparison(
            sup.loop, machine, lambda: anything, self.world.listing, list, lambda: "auto", profile.try_out
        )  # fmt: skip
        sup.services = Services(
            store=sup.store, machine=machine, observe=anything, generations=anything, profile=profile, watch="",
            games=anything, frames=anything, network=anything, hints=anything, comparison=self.comparison,
            heartbeat=anything, sessions=anything, input=None, input_error="", bus=None,
        )  # fmt: skip
        sup._status = anything
        sup._publisher = anything
        self.sup, self.machine, self.profile = sup, machine, profile
        sup._start()
        self.at_start = self.world.take()

    def play(self, *games: Game) -> list[str]:
        self.world.games = list(games)
        self.sup._changes.games_changed()
        self.sup._changes.apply()
        return self.world.take()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    with made.sup.loop:
        yield made


def test_a_game_with_a_profile_has_each_consequence_once_and_in_order(daemon: Daemon) -> None:
    calls = daemon.play(Game(5))
    assert daemon.machine.state is State.ATTACHED and daemon.profile.name == "fast"
    # the new generation gets all values again
    assert calls == ["slice 1000", "slice 1000", "attach", "limits True", "sessions 1", "publish"]
    assert daemon.play() == ["slice 3000", "detach", "limits False", "sessions 0", "publish"]


def test_nothing_changed_has_no_consequence(daemon: Daemon) -> None:
    daemon.sup._changes.apply()
    assert daemon.world.take() == []
    daemon.sup._changes.game_executed()  # no profile names the program
    daemon.sup._changes.apply()
    assert daemon.world.take() == []


def test_off_ends_the_limits_and_start_brings_them_back(daemon: Daemon) -> None:
    daemon.play(Game(5))
    daemon.machine.user_stop()
    daemon.sup._changes.apply()
    assert daemon.world.take() == ["detach", "limits False", "sessions 1", "publish"]
    daemon.machine.user_start()
    daemon.sup._changes.apply()
    assert daemon.world.take()[-4:] == ["attach", "limits True", "sessions 1", "publish"]


def test_power_is_held_while_a_game_runs_with_the_profile_s_own_value(daemon: Daemon) -> None:
    """As limits are: the game's profile first, then config.toml; never while it is switched off."""
    daemon.sup.services = replace(daemon.sup.services, bus=cast(Any, daemon.world))
    (daemon.profile._where[0] / "fast.toml").write_text(
        '[match]\nappid = [5]\n[power]\nprofile = "power-saver"\n[resources]\nmemory_low_mb = 7\n'
    )
    daemon.profile._read_base = lambda: SupervisorOptions(
        "auto", network=NETWORK, power="performance"
    )
    daemon.sup._reload("test")
    daemon.sup._changes.apply()
    daemon.world.take()

    assert daemon.world.source_watched is False
    all_games = {"memory_low_mb": 0, "background_io_weight": 50}
    daemon.profile._read_base = lambda: SupervisorOptions(
        network=NETWORK, power="performance", on_battery="fast", resources=all_games
    )
    daemon.sup._reload("test")
    daemon.play(Game(6))
    assert daemon.world.source_watched is True
    assert (daemon.world.power, daemon.world.resources) == ("performance", all_games)
    daemon.play(Game(5))
    assert daemon.world.power == "power-saver"
    assert daemon.world.resources == {**all_games, "memory_low_mb": 7}
    daemon.machine.user_stop()
    daemon.sup._changes.apply()
    assert (daemon.world.power, daemon.world.resources) == ("", {})
    daemon.machine.user_start()
    daemon.sup._changes.apply()
    assert daemon.world.power == "power-saver"
    daemon.play()
    assert daemon.world.power == ""


def test_a_pause_ends_the_limits_too(daemon: Daemon) -> None:
    """A comparison measures everything that is done for a game against nothing of it."""
    daemon.play(Game(5))
    daemon.machine.pause("without")
    daemon.sup._changes.apply()
    assert daemon.world.take() == ["detach", "limits False", "sessions 1", "publish"]
    daemon.machine.resume("with")
    daemon.sup._changes.apply()
    assert daemon.world.take()[-4:] == ["attach", "limits True", "sessions 1", "publish"]


def test_a_failure_disables_its_profile_outside_of_the_transition(daemon: Daemon) -> None:
    """The profile wants the scheduler always; disabled after two failures, it wants none, and the retry goes."""
    daemon.world.attach_fails = True
    daemon.profile.choose("keen")
    daemon.sup._changes.apply()
    assert daemon.world.take() == ["slice 3000", "attach", "limits False", "sessions 0", "publish"]
    assert daemon.machine.state is State.BACKOFF and daemon.profile.name == "keen"
    daemon.machine.user_start()
    daemon.sup._changes.apply()
    assert daemon.profile.disabled.keys() == {"keen"}
    assert daemon.machine.state is State.IDLE and daemon.machine.retry_in_s() is None
    assert daemon.world.take() == ["slice 3000", "attach", "limits False", "sessions 0", "publish"]


def test_a_reload_that_changes_the_mode_attaches(daemon: Daemon) -> None:
    daemon.profile._read_base = lambda: SupervisorOptions("always", network=NETWORK)
    daemon.sup._reload("test")
    daemon.sup._changes.apply()
    assert daemon.machine.state is State.ATTACHED
    assert daemon.world.take()[-4:] == ["attach", "limits False", "sessions 0", "publish"]


def test_a_game_that_runs_at_the_start_has_its_profile_from_the_first_attach(
    tmp_path: Path,
) -> None:
    daemon = Daemon(tmp_path, Game(5))
    daemon.sup.loop.close()
    assert daemon.profile.name == "fast"
    assert daemon.at_start[-5:] == ["slice 1000", "attach", "limits True", "sessions 1", "publish"]


@pytest.mark.parametrize("trial", [{}, {"slice_us": 2000}])
def test_an_error_under_a_trial_does_not_count_against_the_profile(
    daemon: Daemon, trial: dict[str, int]
) -> None:
    daemon.play(Game(5))
    for number in range(FAILURES):
        request = {"id": f"client {number}", "paused": False, "pair": 1, "pid": 5}
        daemon.comparison.hold({**request, "begin": True, "trial": trial}, 0)
        assert daemon.profile.values()["slice_us"] == trial.get("slice_us", 1000)
        daemon.world.error = ExitRecord(KIND_ERROR, 0, number, "a test's")
        daemon.machine.check()
        assert daemon.machine.state is State.BACKOFF
        assert daemon.profile.values()["slice_us"] == 1000
        daemon.comparison.end("its client has gone")
        daemon.machine.user_start()
        daemon.sup._changes.apply()
    assert ("fast" in daemon.profile.disabled) is (not trial)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The active profile: the user's choice, games, failures, changed files, and the messages to the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.config.settings import ConfigError
from scx_gamer.profiles import Game, ProfileError
from scx_gamer.service.active_profile import ActiveProfile
from tests.unit.profiles.support import LIMITS, constants

CONSTANTS = constants()


class World:
    """Files, a feed that remembers, and the tuning on them."""

    def __init__(self, folder: Path) -> None:
        self.vendor, self.admin = folder / "vendor", folder / "etc"
        self.vendor.mkdir()
        self.admin.mkdir()
        self.write("auto", "")
        self.write("power", "[tunables]\nslice_us = 10000\n")
        self.write("fast", 'mode = "always"\n[match]\nappid = [5]\n[tunables]\nslice_us = 1000\n')
        self.kernel: dict[int, int] = {}
        self.queued: dict[int, int] = {}
        self.messages = 0
        self.said: list[str] = []
        self.base = SupervisorOptions("auto", tunables={"bg_delay_ms": 33})
        self.base_error: ConfigError | None = None
        self.tuning = ActiveProfile(
            self,
            CONSTANTS,
            LIMITS,
            self.base,
            self.ask,
            self.said.append,
            (self.vendor, self.admin),
        )

    def write(self, name: str, text: str) -> None:
        (self.vendor / f"{name}.toml").write_text(text)

    def ask(self) -> SupervisorOptions:
        if self.base_error:
            raise self.base_error
        return self.base

    def send(self, type_name: str, **fields: int) -> bool:
        assert type_name == "TUNABLE"
        self.queued[fields["index"]] = fields["value"]
        self.messages += 1
        return True

    def flush(self) -> None:
        self.kernel.update(self.queued)
        self.queued.clear()

    def told(self, name: str) -> int:
        return self.kernel[CONSTANTS[f"SCXG_TUN_{name.upper()}"]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.tuning.start("")
    return world


def test_start_tells_everything_once(world: World) -> None:
    assert world.messages == len(LIMITS)
    assert (
        world.told("slice_us") == CONSTANTS["SCXG_DEF_SLICE_US"] and world.told("bg_delay_ms") == 33
    )


def test_the_games_profile_comes_and_goes_with_it(world: World) -> None:
    world.messages = 0
    world.tuning.set_games([Game(5)])
    assert (world.tuning.name, world.tuning.mode, world.told("slice_us")) == (
        "fast",
        "always",
        1000,
    )
    assert world.messages == 1 and world.said[-1] == "profile fast"
    assert world.tuning.why == "appid 5 of the game that runs"
    world.tuning.set_games([])
    assert (world.tuning.name, world.tuning.mode, world.told("slice_us")) == ("auto", "auto", 3000)


def test_what_the_user_set_holds_over_games(world: World) -> None:
    world.tuning.choose("power")
    world.tuning.set_games([Game(5)])
    assert world.tuning.name == "power" and world.told("slice_us") == 10000
    world.tuning.choose("auto")
    assert world.tuning.name == "fast"
    with pytest.raises(ProfileError, match="did you mean power"):
        world.tuning.choose("powre")
    assert world.tuning.name == "fast"


def test_on_battery_the_administrators_profile_holds_for_all_games(world: World) -> None:
    world.tuning.set_games([Game(5)])
    world.tuning.set_on_battery(True)
    assert world.tuning.name == "fast" and not world.tuning.follows_power_source
    world.base = SupervisorOptions("auto", on_battery="power")
    world.tuning.reload("test")
    assert world.tuning.follows_power_source
    assert (world.tuning.name, world.tuning.why) == ("power", "the machine runs on battery")
    assert world.told("slice_us") == 10000
    world.tuning.choose("fast")
    assert world.tuning.name == "fast"
    world.tuning.choose("auto")
    world.tuning.set_on_battery(False)
    assert world.tuning.why == "appid 5 of the game that runs"
    world.base = SupervisorOptions("auto", on_battery="gone")
    world.tuning.reload("test")
    world.tuning.set_on_battery(True)
    assert world.tuning.name == "fast"


def test_a_choice_that_is_gone_is_auto(world: World, tmp_path: Path) -> None:
    world.tuning.start("gone")
    assert world.tuning.chosen == "auto"
    world.tuning.choose("power")
    (world.vendor / "power.toml").unlink()
    assert world.tuning.reload("test") and world.tuning.chosen == "auto"


def test_reload_takes_the_new_values(world: World) -> None:
    world.tuning.choose("power")
    world.write("power", "[tunables]\nslice_us = 9000\n")
    assert world.tuning.reload("test") and world.told("slice_us") == 9000
    world.base = SupervisorOptions("always", tunables={"bg_delay_ms": 44})
    assert world.tuning.reload("test") and world.told("bg_delay_ms") == 44
    assert world.tuning.mode == "always" and world.tuning.reloads == {"ok": 2, "failed": 0}


def test_a_broken_file_keeps_the_old(world: World) -> None:
    world.tuning.choose("power")
    world.write("power", "[tunables]\nslice_us = 1\n")
    assert not world.tuning.reload("test")
    assert world.told("slice_us") == 10000 and "slice_us is 1" in str(world.tuning.errors()[0])
    world.base_error = ConfigError("config.toml:1", "broken", "mend it")
    world.write("power", "[tunables]\nslice_us = 9000\n")
    assert not world.tuning.reload("test")
    assert world.told("bg_delay_ms") == 33 and world.told("slice_us") == 9000
    world.base_error = None
    assert world.tuning.reload("test") and not world.tuning.errors()


def test_failures_under_one_profile_alone_disable_it(world: World) -> None:
    world.tuning.set_games([Game(5)])
    world.tuning.scheduler_failed(world.tuning.name)
    assert world.tuning.name == "fast"
    world.tuning.scheduler_failed(world.tuning.name)
    assert world.tuning.name == "auto" and "fast" in world.tuning.disabled
    assert world.told("slice_us") == 3000
    world.tuning.choose("fast")
    assert world.tuning.name == "fast" and not world.tuning.disabled


def test_failures_without_a_profile_blame_none(world: World) -> None:
    world.tuning.scheduler_failed(world.tuning.name)
    world.tuning.scheduler_failed(world.tuning.name)
    world.tuning.set_games([Game(5)])
    world.tuning.scheduler_failed(world.tuning.name)
    assert world.tuning.name == "fast" and not world.tuning.disabled


def test_everything_again_for_a_new_generation(world: World) -> None:
    world.tuning.choose("power")
    world.kernel.clear()
    world.tuning.send_all()
    assert len(world.kernel) == len(LIMITS) and world.told("slice_us") == 10000


def test_a_trial_goes_before_every_profile_and_ends_without_a_trace(world: World) -> None:
    world.tuning.set_games([Game(5)])
    before = dict(world.kernel)
    assert world.tuning.try_out({"slice_us": 2000, "bg_delay_ms": 40}) == {
        "slice_us": 2000,
        "bg_delay_ms": 40,
    }
    assert (world.told("slice_us"), world.told("bg_delay_ms")) == (2000, 40)
    world.write("fast", "[match]\nappid = [5]\n[tunables]\nslice_us = 1500\nhome = 0\n")
    assert world.tuning.reload("test")
    world.tuning.send_all()
    assert (world.told("slice_us"), world.told("home")) == (2000, 0)
    for wrong in ({"slise_us": 1}, {"slice_us": 1}, {"slice_us": "2000"}, {"slice_us": True}):
        with pytest.raises(ProfileError):
            world.tuning.try_out(wrong)
    assert world.told("slice_us") == 2000
    assert world.tuning.try_out({}) == {}
    changed = {CONSTANTS["SCXG_TUN_SLICE_US"]: 1500, CONSTANTS["SCXG_TUN_HOME"]: 0}
    assert world.kernel == before | changed

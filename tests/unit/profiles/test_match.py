# SPDX-License-Identifier: GPL-2.0-or-later
"""Selection of profiles: AppID before exe before command line, admin before vendor."""

from __future__ import annotations

import time

import pytest

from scx_gamer.profiles import Game, Match, Profile
from scx_gamer.profiles.match import find


def profile(name: str, vendor: bool = True, **marks: tuple[object, ...]) -> Profile:
    return Profile(name, name, Match(**marks), {}, {}, vendor=vendor)  # type: ignore[arg-type]


def chosen(profiles: list[Profile], *games: Game) -> tuple[str, str] | None:
    found = find(profiles, games)
    return (found.profile.name, found.how) if found else None


APP = profile("z-app", appid=(7,))
EXE = profile("b-exe", exe=("game", "Game.exe"))
LINE = profile("a-line", cmdline=("*--play*",))
ALL = [LINE, EXE, APP]


@pytest.mark.parametrize(
    ("game", "wanted"),
    [
        (Game(7, "/usr/bin/game", ("game", "--play")), ("z-app", "appid")),
        (Game(8, "/usr/bin/game", ("game", "--play")), ("b-exe", "exe")),
        (Game(0, "/usr/bin/other", ("other", "--play", "x")), ("a-line", "cmdline")),
        (Game(0, "/usr/bin/other", ("other",)), None),
        (Game(0, "/usr/bin/wine64-preloader", (r"C:\Games\GAME.EXE",)), ("b-exe", "exe")),
        (Game(0, "/opt/game (deleted)", ("game",)), ("b-exe", "exe")),
        (Game(0, "/usr/bin/GAME", ("GAME",)), None),
        (Game(0, "", ()), None),
    ],
)
def test_order(game: Game, wanted: tuple[str, str] | None) -> None:
    assert chosen(ALL, game) == wanted


def test_any_process_of_the_game_counts_and_the_strongest_fact_wins() -> None:
    wrapper, real = Game(0, "/usr/bin/game"), Game(7, "/x")
    assert chosen(ALL, wrapper, real) == ("z-app", "appid")


def test_the_admins_comes_first() -> None:
    mine = profile("zz", vendor=False, appid=(7,))
    assert chosen([APP, mine], Game(7)) == ("zz", "appid")


def test_a_path_is_the_whole_path() -> None:
    exact = [profile("p", exe=("/opt/a/run",))]
    assert chosen(exact, Game(0, "/opt/a/run")) and not chosen(exact, Game(0, "/opt/b/run"))


def test_a_hostile_command_line_costs_little() -> None:
    tricky = [profile("p", cmdline=("*aaaa*aaaa*aaaa*aaaa*aaaa*aaaa*aaaa*b",))]
    began = time.process_time()
    assert chosen(tricky, Game(0, "", ("a" * 100_000,))) is None
    assert time.process_time() - began < 1

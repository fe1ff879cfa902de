# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of [network]: in force only while a game runs, however the game or the supervisor ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pages import PAGES, commands_of
from tests.vm.harness import Supervised, wait_until
from tests.vm.netlimit.conftest import warm
from tests.vm.netlimit.world import CONFIG, PAIR, PUBLIC, Cgroup, cli, configured, limits, tree

Make = Callable[[str], Cgroup]
SETTINGS = """
[network]
enabled = true
down = "8 Mbit/s"
up = "4 Mbit/s"
targets = ["unit:scxg-bulk*"]
"""
PROFILES = {
    "slow": '[network]\ndown = "2 Mbit/s"\n',
    "free": "[network]\nenabled = false\n",
}


def configure(sup: Supervised, toml: str) -> None:
    (sup.root / "etc/config.toml").write_text(CONFIG + toml)


def write_profile(sup: Supervised, name: str, text: str) -> None:
    folder = sup.root / "etc/profiles"
    folder.mkdir(exist_ok=True)
    new = folder / f".{name}.new"
    new.write_text(f'title = "{name}"\n{text}')
    new.rename(folder / f"{name}.toml")


@pytest.fixture(scope="module")
def settled() -> Iterator[Supervised]:
    """It has no scheduler, and the limiter's programs are loaded."""
    with configured(SETTINGS, state="fallback") as supervised:
        as_before(supervised)
        warm(supervised)
        yield supervised
    assert tree() == {}


def as_before(sup: Supervised) -> None:
    """No game runs, nothing is limited; it knows the two profiles, and none is chosen."""
    for game in sup.ask("games"):
        sup.ask("game_remove", pid=game["pid"])
    sup.ask("net_release")
    configure(sup, SETTINGS)
    for name, text in PROFILES.items():
        write_profile(sup, name, text)
    sup.ask("profile_set", name="auto")
    sup.ask("reload")
    assert nothing()


@pytest.fixture
def sup(settled: Supervised, cgroup: Make) -> Iterator[Supervised]:
    """One for all tests. `cgroup` outlives its use: the games that run are taken back, none is waited for."""
    del cgroup
    yield settled
    as_before(settled)


@pytest.fixture
def bulk(cgroup: Make) -> Cgroup:
    group = cgroup("scxg-bulk")
    group.sleeper()
    return group


def play(sup: Supervised, cgroup: Make) -> subprocess.Popen[str]:
    """A game, in a cgroup of its own."""
    process = cgroup("scxg-game").sleeper()
    sup.ask("game_add", pid=process.pid)
    return process


def limited(group: Cgroup) -> Callable[[], bool]:
    return lambda: tree() == {group.path: PAIR}


def nothing() -> bool:
    return tree() == {}


def test_from_the_games_start_to_its_end(sup: Supervised, cgroup: Make, bulk: Cgroup) -> None:
    assert nothing(), "no game, no limit"
    game = play(sup, cgroup)
    wait_until("limited", limited(bulk), 60)
    row = limits(sup)[bulk.path]
    assert (row["down_bytes_per_s"], row["up_bytes_per_s"]) == (1_000_000, 500_000)
    later = cgroup("scxg-bulk-later")
    later.sleeper()
    wait_until("the second one", lambda: tree() == {g.path: PAIR for g in (bulk, later)}, 60)
    shown = cli(sup, "net", "status").stdout
    assert "unit:scxg-bulk* (the game's settings): 8 Mbit/s down" in shown, shown
    assert shown.count("scxg-bulk") == 3, shown
    game.kill()
    wait_until("lifted", nothing, 60)
    assert sup.ask("net_status")["wishes"] == []


def test_a_command_that_is_the_game(sup: Supervised, bulk: Cgroup) -> None:
    """Named by `exec`, as a launcher would."""
    command = [sys.executable, "-m", "scx_gamer", "exec", "--", "sleep", "1000"]
    env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(sup.root / "run")}
    with subprocess.Popen(command, env=env) as game:
        try:
            wait_until("limited", limited(bulk), 60)
            wait_until("started", lambda: "sleep" in members(sup), 60)
        finally:
            game.terminate()  # a kill would leave the command, and with it the game
    assert game.returncode == 128 + signal.SIGTERM
    wait_until("lifted", nothing, 60)


def members(sup: Supervised) -> list[str]:
    """Return the names of the first game's processes."""
    games = sup.ask("games")
    return (
        [row["program"] for row in sup.ask("explain", pid=games[0]["pid"])["tree"]] if games else []
    )


def test_a_game_that_comes_back_is_still_limited_for(
    sup: Supervised, cgroup: Make, bulk: Cgroup
) -> None:
    """Within its grace it is the same game: settings read again meanwhile do not end the limit."""
    game = play(sup, cgroup)
    wait_until("limited", limited(bulk), 60)
    game.kill()
    wait_until("ended", lambda: sup.ask("games") == [], 60)
    sup.ask("reload")
    sup.ask("game_add", pid=cgroup("scxg-game-again").sleeper().pid)
    wait_until("limited", limited(bulk), 20)
    later = cgroup("scxg-bulk-later")
    later.sleeper()
    wait_until("the second one", lambda: tree() == {g.path: PAIR for g in (bulk, later)}, 60)


def test_profiles_change_it_live(sup: Supervised, cgroup: Make, bulk: Cgroup) -> None:
    play(sup, cgroup)
    wait_until("limited", limited(bulk), 60)
    programs = programs_on(bulk)
    sup.ask("profile_set", name="slow")
    row = limits(sup)[bulk.path]
    assert (row["down_bytes_per_s"], row["up_bytes_per_s"]) == (250_000, 500_000)
    write_profile(sup, "slow", '[network]\ndown = "4 Mbit/s"\n')
    wait_until("seen", lambda: limits(sup)[bulk.path]["down_bytes_per_s"] == 500_000, 60)
    assert programs_on(bulk) == programs, "changed in place"
    sup.ask("profile_set", name="free")
    assert nothing()
    sup.ask("profile_set", name="auto")
    assert limited(bulk)() and limits(sup)[bulk.path]["down_bytes_per_s"] == 1_000_000
    configure(sup, SETTINGS.replace("enabled = true", "enabled = false"))
    wait_until("switched off", nothing, 60)


def programs_on(group: Cgroup) -> str:
    done = subprocess.run(
        ["bpftool", "cgroup", "show", str(group.folder)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def test_off_is_off(cgroup: Make, bulk: Cgroup) -> None:
    """`scx-gamer stop` ends what the settings limit, and leaves what the user asked for; SIGTERM ends both."""
    other = cgroup("scxg-other")
    both = {g.path: PAIR for g in (bulk, other)}
    with configured(SETTINGS, state="fallback") as sup:
        sup.ask("net_limit", target=str(other.sleeper().pid), down="8M")
        play(sup, cgroup)
        wait_until("limited", lambda: tree() == both, 60)
        assert cli(sup, "stop").returncode == 0
        wait_until("lifted", limited(other), 60)
        assert cli(sup, "start").returncode == 0
        wait_until("limited again", lambda: tree() == both, 60)
        sup.end(signal.SIGTERM)
        wait_until("lifted", nothing, 20)


def test_lifted_by_our_death(cgroup: Make, bulk: Cgroup) -> None:
    with configured(SETTINGS, state="fallback") as sup:
        play(sup, cgroup)
        wait_until("limited", limited(bulk), 60)
        sup.end(signal.SIGKILL)
        wait_until("lifted", nothing, 20)


def test_the_game_and_protected_programs_are_never_held(
    sup: Supervised, cgroup: Make, bulk: Cgroup, tmp_path: Path
) -> None:
    def refusals() -> int:
        return int(sup.ask("snapshot")["network_counters"]["refusals"])

    before = refusals()
    talk = cgroup("scxg-bulk-talk")
    program = tmp_path / "discord"
    shutil.copy("/bin/sleep", program)
    voice = talk.start(program, "1000")
    shared = cgroup("scxg-bulk-game")
    game = shared.sleeper()
    sup.ask("game_add", pid=game.pid)
    wait_until("limited", limited(bulk), 60)
    (wish,) = sup.ask("net_status")["wishes"]
    why = {row["cgroup"]: row["why"] for row in wish["refused"]}
    assert f"contains the game (process {game.pid}" in why[shared.path]
    assert f"(process {voice.pid}), which is protected" in why[talk.path]
    assert refusals() == before + 2
    voice.kill()  # it has left: what remains may be held back
    talk.sleeper()
    wait_until("limited after all", lambda: talk.path in tree(), 60)
    again = talk.start(program, "1000")
    wait_until("let go for its sake", lambda: talk.path not in tree(), 60)
    assert again.poll() is None


@pytest.mark.usefixtures("internet")
def test_the_rates_of_all(sup: Supervised, cgroup: Make) -> None:
    """`net list`: who uses the network, how much, who is limited, which one is the game."""
    game = cgroup("scxg-game")
    sup.ask("game_add", pid=game.sleeper().pid)
    game.traffic("echo", PUBLIC)
    bulk, free, quiet = cgroup("scxg-bulk"), cgroup("scxg-free"), cgroup("scxg-quiet")
    bulk.sleeper()
    quiet.sleeper()
    wait_until("limited", limited(bulk), 60)
    load = bulk.traffic("down", PUBLIC, 2)
    free.traffic("flood", PUBLIC, 100_000).lasts(2)
    before, began = limits(sup)[bulk.path], time.monotonic()
    done = cli(sup, "net", "list", "--seconds", "4", "--json")
    after, ended = limits(sup)[bulk.path], time.monotonic()
    rows = rows_of(done)
    assert [rows[g.path]["limited"] for g in (bulk, free)] == [True, False]
    assert [rows[g.path]["game"] for g in (game, bulk, free)] == [True, False, False]
    # The list counts what arrives. How much that is, is the link's and TCP's affair, not the list's: it is what the
    # limit counted meanwhile, dropped or not.
    offered, passed, lost = (
        sum(after[f"down_{name}"] - before[f"down_{name}"] for name in names) / (ended - began)
        for names in (("bytes", "dropped_bytes"), ("bytes",), ("dropped_bytes",))
    )
    down, up = rows[bulk.path]["down_bytes_per_s"], rows[free.path]["up_bytes_per_s"]
    print(
        f"list: bulk {down / 1000:.0f} kB/s down, free {up / 1000:.0f} of 102 kB/s up;"
        f" the limit: passed {passed / 1000:.0f}, dropped {lost / 1000:.0f} kB/s;"
        f" the program: {load.rate(began, ended) / 1000:.0f} kB/s"
    )
    assert 0.85 * offered < down < 1.15 * offered
    assert 0.85 * 102_300 < up < 1.15 * 102_300  # 1200 bytes and 28 of headers each
    assert rows[free.path]["programs"][0].startswith("python")
    assert quiet.path not in rows
    text = cli(sup, "net", "list", "--all").stdout
    assert "Mbit/s" in text and "limited" in text
    assert free.path in text and quiet.path in text
    wait_until("nobody looks: no meter", lambda: "/" not in tree(), 60)


def test_the_commands_of_the_page(sup: Supervised, cgroup: Make) -> None:
    """As docs/netlimit.md has them, in its order; the rates of its limit are what the supervisor then holds to."""
    page = next(page for page in PAGES if page.stem == "netlimit")
    lines = [line.split() for line in commands_of(page)]
    assert [words[:3] for words in lines] == [
        ["scx-gamer", "net", what] for what in ("list", "limit", "status", "release")
    ]
    unit = cgroup(lines[1][3])
    unit.sleeper()
    seen = []
    for words in lines:
        done = cli(sup, *words[1:])
        assert done.returncode == 0, done.stderr
        wait_until("nobody looks: no meter", lambda: "/" not in tree(), 60)
        seen.append((words[2], done.stdout, tree()))
    (_list, limit, status, release) = seen
    assert limit[2] == {unit.path: PAIR}
    assert f"{unit.folder.name} (the user): 8 Mbit/s down, 4 Mbit/s up" in status[1]
    assert release[1] == "1 limits released\n" and release[2] == {}


def rows_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return {row["cgroup"]: row for row in json.loads(done.stdout)}

# SPDX-License-Identifier: GPL-2.0-or-later
"""A profile's [network]: the rate of a limit that holds follows the profile, and the limit goes with the game."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.config import settings
from scx_gamer.config.network import parse_rate
from scx_gamer.config.options import SupervisorOptions
from tests.processes import running
from tests.vm.harness import Supervised, start_supervisor, wait_until
from tests.vm.netlimit.world import Cgroup

NETWORK = """
[network]
enabled = true
down = "8 Mbit/s"
up = "4 Mbit/s"
targets = ["exe:downloader"]
"""
OWN = '[match]\nexe = ["some-game"]\n[network]\ndown = "{}"\n[why]\n"network.down" = "A test."\n'


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    made = Cgroup("scxg-profile")
    yield made
    made.remove()


def down(sup: Supervised) -> list[int]:
    """Bytes a second, of each cgroup that is held."""
    return [row["down_bytes_per_s"] for row in sup.status()["network"]["limits"]]


def test_the_limit_follows_the_profile_and_ends_with_the_game(
    cgroup: Cgroup, tmp_path: Path
) -> None:
    own = tmp_path / "profiles/own.toml"
    own.parent.mkdir()
    own.write_text(OWN.format("2 Mbit/s"))
    (tmp_path / "config.toml").write_text(NETWORK)
    game, downloader = tmp_path / "some-game", tmp_path / "downloader"
    for program in (game, downloader):
        shutil.copy("/bin/sleep", program)
    cgroup.start(downloader, "1000", stdout=subprocess.DEVNULL)
    options = SupervisorOptions(
        mode="auto",
        input=False,
        config_dir=str(tmp_path),
        network=dict(settings.load(tmp_path).network),
    )
    with start_supervisor(options, state="idle") as sup:
        assert sup.status()["network"]["available"], sup.status()["network"]["why"]
        assert down(sup) == []
        with running([game, "1000"]):
            wait_until("the profile's rate", lambda: down(sup) == [parse_rate("2 Mbit/s")], 60)
            assert sup.status()["profile"]["active"] == "own"
            own.write_text(OWN.format("1 Mbit/s"))
            wait_until("its new rate", lambda: down(sup) == [parse_rate("1 Mbit/s")], 60)
            sup.ask("profile_set", name="powersave", sticky=False)
            assert down(sup) == [parse_rate("8 Mbit/s")]
            sup.ask("profile_set", name="auto", sticky=False)
            assert down(sup) == [parse_rate("1 Mbit/s")]
        wait_until("the end of the limit", lambda: down(sup) == [], 60)

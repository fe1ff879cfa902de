# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks that compute share the CPUs by their nice values while no game is active."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def shares(simulator: Path, cpus: int, nices: list[int]) -> list[float]:
    """The CPU time of each hog, in CPUs."""
    words = [str(simulator), "shares", str(cpus), *(str(120 + nice) for nice in nices)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    "nices", [[0, 0], [0, 9], [0, 19], [-10, 0], [0, 1], [0, 4], [0, 0, 9], [-10] + 9 * [0]]
)
def test_hogs_on_one_cpu_share_by_weight(simulator: Path, nices: list[int]) -> None:
    """A nice value is worth a quarter more or less, as by the kernel's default."""
    weights = [1.25**-nice for nice in nices]
    wanted = [weight / sum(weights) for weight in weights]
    assert shares(simulator, 1, nices) == pytest.approx(wanted, rel=0.1)


def test_hogs_on_more_cpus_share_by_weight(simulator: Path) -> None:
    weights = 4 * [1.0] + 4 * [1.25**-19]
    wanted = [4 * weight / sum(weights) for weight in weights]
    assert shares(simulator, 4, 4 * [0] + 4 * [19]) == pytest.approx(wanted, rel=0.1)


def test_a_hog_gets_no_more_than_a_cpu(simulator: Path) -> None:
    """Those of less weight share what is left, and no CPU idles."""
    wanted = [1, 0.75, 0.75, 0.75, 0.75]
    assert shares(simulator, 4, [0, 19, 19, 19, 19]) == pytest.approx(wanted, rel=0.01)


def test_nice_19_has_a_turn_in_half_a_second(simulator: Path) -> None:
    """Its weight would give it one in more than a second beside four; that is where the bound ends the share."""
    *_, least = shares(simulator, 1, [0, 0, 0, 0, 19])
    assert least == pytest.approx(4 / 500, rel=0.1)

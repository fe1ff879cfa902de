# SPDX-License-Identifier: GPL-2.0-only
"""What a folder of VM tests that failed beside other guests counts for."""

from __future__ import annotations

import pytest

from tests.tiers import MOST_AGAIN, Result, alone_again


def result(name: str, failed: int) -> Result:
    return Result(f"vm newest {name}", 2 - failed, failed, 1.0, f"FAILED {name}")


@pytest.mark.parametrize("second", [0, 1])
def test_the_run_alone_counts_and_both_are_shown(
    second: int, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def again(name: str) -> Result:
        asked.append(name)
        return result(name, second)

    found = list(alone_again([result("good", 0), result("bad", 1)], again))
    assert asked == ["bad"]
    assert [(r.name, r.failed) for r in found] == [
        ("vm newest good", 0),
        ("vm newest bad, alone", second),
    ]
    assert "| FAILED bad" in capsys.readouterr().out


def test_many_failures_are_not_tried_again() -> None:
    def again(name: str) -> Result:
        raise AssertionError(name)

    bad = [result(f"bad{number}", 1) for number in range(MOST_AGAIN + 1)]
    assert list(alone_again(bad, again)) == bad

# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from scx_gamer.scheduler.exits import (
    CODE_HOTPLUG,
    CODE_RESTART,
    Action,
    ExitRecord,
    classify,
    kind_name,
)


@pytest.mark.parametrize(
    ("kind", "code", "action"),
    [
        (1, 0, Action.DONE),
        (64, 0, Action.DONE),
        (64, CODE_RESTART, Action.DONE),
        (65, CODE_RESTART, Action.RESTART),
        (66, CODE_RESTART | CODE_HOTPLUG, Action.RESTART),
        (66, CODE_HOTPLUG, Action.OFF),
        (66, 0, Action.OFF),
        (67, 0, Action.OFF),
        (67, CODE_RESTART, Action.OFF),
        (68, 0, Action.OFF),
        (65, 0, Action.COUNT),
        (1024, 0, Action.COUNT),
        (1024, CODE_RESTART, Action.COUNT),
        (1025, 0, Action.COUNT),
        (1026, 0, Action.COUNT),
        (99999, 0, Action.COUNT),
    ],
)
def test_table(kind: int, code: int, action: Action) -> None:
    assert classify(kind, code) is action


def test_names_are_bounded() -> None:
    names = {kind_name(kind) for kind in range(5000)}
    assert len(names) == 11 and kind_name(2000) == "error" and kind_name(70) == "other"


def test_line_is_one_line() -> None:
    line = ExitRecord(1026, CODE_HOTPLUG, 3, "runnable\ntask stall", "x\r\n y").line()
    assert line == "exit 1026 (stall, CPU hotplug) runnable task stall: x y"

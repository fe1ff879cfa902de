# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kind of kernel call failed once, from start to end: whatever fails, the world after is the world before.

tests/vm/sweep fails every single call.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.vm.life import Outcome, live


@cache
def whole() -> Outcome:
    """A life in which nothing fails."""
    return live()


def test_a_life_in_which_nothing_fails_leaves_nothing() -> None:
    outcome = whole()
    assert outcome.wrong == () and outcome.exit_code == 0 and outcome.error == ""
    assert outcome.refused == ()
    assert outcome.calls.count("bpf_map__attach_struct_ops") == 3  # start, restart, start
    # a pair, its sockets' tags, and the pair once more
    assert outcome.calls.count("bpf_program__attach_cgroup") == 5


def test_the_first_and_the_last_call_of_each_kind_fails() -> None:
    calls = whole().calls
    chosen = {calls.index(name) + 1 for name in calls}
    chosen |= {
        len(calls) - calls[::-1].index(name)
        for name in ("bpf_object__load", "bpf_map__attach_struct_ops", "bpf_link__destroy")
    }
    bad = {}
    for number in sorted(chosen):
        outcome = live(number)
        print(f"{number}: {outcome.failed}: {outcome.error or outcome.exit_code}")
        if outcome.wrong:
            bad[f"{number} {outcome.failed}"] = outcome.wrong
    assert not bad


@pytest.mark.parametrize("function", ["bpf_object__load", "bpf_map__attach_struct_ops"])
def test_a_restart_that_fails_is_told_and_leaves_the_kernels_scheduler(function: str) -> None:
    calls = whole().calls
    places = [number for number, name in enumerate(calls, start=1) if name == function]
    outcome = live(places[1 if function == "bpf_map__attach_struct_ops" else 2])
    assert outcome.wrong == () and outcome.error == ""

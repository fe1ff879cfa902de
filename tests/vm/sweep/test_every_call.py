# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kernel call of a life failed, one after the other."""

from __future__ import annotations

import os

import pytest

from tests.vm.life import live


@pytest.mark.timeout(0)  # hundreds of lives; whoever starts the guest sets a limit
def test_every_call_fails_once() -> None:
    calls = live().calls
    first = int(os.environ.get("SCX_GAMER_SWEEP_FROM", "1"))
    bad = {}
    step = int(os.environ.get("SCX_GAMER_SWEEP_STEP", "1"))
    for number in range(first, len(calls) + 1, step):
        outcome = live(number)
        print(
            f"{number}/{len(calls)} {outcome.failed}: {outcome.error or outcome.exit_code}",
            flush=True,
        )
        # a run that ends earlier makes fewer calls; one whose timing differs may make a few less
        wrong = [one for one in outcome.wrong if not one.startswith("there is no call")]
        if wrong:
            bad[f"{number} {outcome.failed}"] = wrong
    assert not bad

# SPDX-License-Identifier: GPL-2.0-or-later
"""`compare` on a game that logs its frames beside hogs: its verdict.

In virtual time: while ours is paused, an emulated CPU beside hogs leaves the command without an answer for a minute.
"""

from __future__ import annotations

import json

import pytest

from tests.processes import end
from tests.vm.compare.played import command, played
from tests.vm.harness import kernel_state

HOGS = 2  # for each CPU
MINUTES = 8


@pytest.mark.timeout(60 * MINUTES + 300)
def test_the_verdict_beside_hogs_is_for_us() -> None:
    with played(hogs=HOGS) as sup:
        generation = sup.status()["generation"]
        process = command(
            sup, "compare", "--now", "--seconds", "3", "--minutes", str(MINUTES), "--json"
        )
        try:
            out, err = process.communicate(timeout=60 * MINUTES + 120)
        finally:
            end(process, 30)
        print(f"MEASURED {out.decode()}\n{err.decode()}")
        assert process.returncode == 0
        found = json.loads(out)
        assert found["source"] == "mangohud"
        assert found["end"] == "sure"
        assert found["low1_change"][0] > 0
        status = sup.status()
        assert status["state"] == "attached"
        assert status["comparison"] is None
        assert kernel_state() == "enabled"
        assert status["generation"] > generation + len(found["pairs"]) // 2

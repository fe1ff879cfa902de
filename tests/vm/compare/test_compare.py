# SPDX-License-Identifier: GPL-2.0-or-later
"""`compare` on a game that logs its frames: the scheduler after each end of it."""

from __future__ import annotations

import signal
import time

from scx_gamer.service.comparison import LEASE_S
from tests.processes import end
from tests.vm.compare.played import command, played
from tests.vm.harness import kernel_state, wait_until


def test_the_scheduler_is_as_before_whatever_ends_it() -> None:
    """Without hogs: beside them the command gets no CPU of an emulated machine for minutes while ours is paused."""
    with played() as sup:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process = command(sup, "compare", "--now", "--seconds", "3")
            try:
                wait_until("a pause", lambda: sup.state() == "paused", 120, 0.2)
                assert kernel_state() == "disabled"
                compared = sup.status()["comparison"]
                assert compared is not None
                assert compared["side"] == "without"
                began = time.monotonic()
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
                wait_until("attached", lambda: sup.state() == "attached", 3 * LEASE_S, 0.2)
            finally:
                end(process, 30)
            print(f"MEASURED {number.name}: attached after {time.monotonic() - began:.1f} s")
            if number is signal.SIGKILL:
                assert process.returncode == -signal.SIGKILL
                assert "gave no sign of life" in sup.text()
            else:
                assert process.returncode == 130, err
                assert out.startswith(b"no verdict: interrupted; "), out
            assert sup.status()["comparison"] is None
            assert kernel_state() == "enabled"

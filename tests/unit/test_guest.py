# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a guest: nothing of it goes on."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.vm.vmlib import guest


@pytest.mark.parametrize("ended", [False, True], ids=["at work", "its first process gone"])
def test_what_ignores_the_first_signal_is_ended_too(ended: bool) -> None:
    """A QEMU in virtual time hears of SIGTERM when its CPUs let it; what started it is gone by then."""
    script = "trap '' TERM; sleep 60 & echo; trap - TERM; " + ("exit" if ended else "wait")
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if ended:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        guest._end(process)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)

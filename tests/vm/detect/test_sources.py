# SPDX-License-Identifier: GPL-2.0-or-later
"""Process events on a kernel that rejects the hooks: another source is used and reported."""

from __future__ import annotations

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.vm.detect.conftest import CLASS_GAME, Desk, KernelMap
from tests.vm.harness import kernel_state, start_supervisor, wait_until


@pytest.mark.parametrize(
    "source",
    [pytest.param("netlink", marks=pytest.mark.needs("/proc/net/connector")), "poll"],
)
def test_without_hooks_another_source_takes_over_visibly(desk: Desk, source: str) -> None:
    game = desk.program("blobfrenzy")
    options = SupervisorOptions(mode="auto", input=False, process_source=source)
    with start_supervisor(options, env=desk.env, state="idle") as sup:
        with KernelMap("classes") as classes:
            detection = sup.status()["detection"]
            assert detection["source"] == source and detection["why"]
            pid = desk.start(game)
            wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
            sup.wait_state("attached")
            desk.kill(pid)
            sup.wait_state("idle", 60)
        assert kernel_state() == "disabled"

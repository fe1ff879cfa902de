# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts that are missing when the supervisor starts. See docs/faults.md."""

from __future__ import annotations

import re

import pytest

from tests.vm.faults.actions import OPTIONS
from tests.vm.harness import directories, kernel_state, launch, start_supervisor, wait_until


@pytest.mark.needs("/sys/kernel/tracing/events")
@pytest.mark.parametrize("hidden", ["/sys/kernel/tracing", "/sys/fs/cgroup", "/sys/kernel/debug"])
def test_without_a_file_system_that_is_not_needed(hidden: str) -> None:
    with directories() as root:
        sup = launch(OPTIONS, root, unshare=[hidden])
        try:
            sup.wait_state("attached", 120)
        finally:
            assert sup.end() == 0
    wait_until("disabled", lambda: kernel_state() == "disabled", 20)


def test_without_the_kernels_btf_it_says_so_and_ends() -> None:
    with directories() as root:
        sup = launch(OPTIONS, root, unshare=["/sys/kernel/btf"])
        assert sup.process.wait(120) == 69
        assert "Traceback" not in sup.text()
        assert re.search(r"(?i)btf", sup.text()), sup.text()
    assert kernel_state() == "disabled"


def test_a_torn_state_file_is_put_aside() -> None:
    with directories() as root:
        (root / "state").mkdir()
        (root / "state/state.json").write_text('{"schema": 1, "off": fal')
        with start_supervisor(OPTIONS, root=root) as sup:
            assert (root / "state/state.json.bad").exists()
            assert "unusable" in sup.text()
            assert sup.status()["generation"] > 1_000_000_000

# SPDX-License-Identifier: GPL-2.0-or-later
"""The system extension of packaging/sysext, merged, started and gone again, under a real systemd."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.vm.harness import kernel_state, wait_until
from tests.vm.systemd.conftest import DROP_IN, START, UNIT, run, show, status

BUILT = Path(__file__).resolve().parents[3] / "build/package/scx-gamer"
EXTENSION = Path("/run/extensions/scx-gamer")
COMMAND = Path("/usr/bin/scx-gamer")


@pytest.mark.needs(str(BUILT))
@pytest.mark.timeout(600)
def test_the_unit_of_a_merged_extension_attaches_and_leaves_nothing() -> None:
    assert not COMMAND.exists()
    shutil.copytree(BUILT, EXTENSION, symlinks=True)
    # as systemd has it, unless a file of the host's tells it that the guest is a container
    run("mount", "--make-rshared", "/")
    assert "Merged" in run("systemd-sysext", "merge")
    try:
        assert COMMAND.exists()
        # as docs/install.md says
        run("systemd-sysusers", "scx-gamer.conf")
        run("systemctl", "reload", "dbus", check=False)
        DROP_IN.mkdir(parents=True)
        (DROP_IN / "test.conf").write_text(START.format("always"))
        run("systemctl", "daemon-reload")
        run("systemctl", "start", UNIT)
        wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
        now = status()
        assert now["state"] == "attached" and now["input"]["path"] != "off", now["input"]
        assert now["input"]["why"] == "" and now["hooks"], now
        assert "state" in run("scx-gamer", "status")
        run("systemctl", "stop", UNIT)
        assert show("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    finally:
        run("systemctl", "stop", UNIT, check=False)
        run("systemd-sysext", "unmerge")
    assert kernel_state() == "disabled" and not COMMAND.exists()

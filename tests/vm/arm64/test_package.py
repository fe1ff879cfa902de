# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package that another architecture's machine built for this one: its programs run, and it attaches."""

from __future__ import annotations

import json
import os
import subprocess

from tests.vm.harness import directories, kernel_state, wait_until
from tests.vm.vmlib.foreign import PACKAGE

APP = PACKAGE / "usr/lib/scx-gamer/scx_gamer"


def test_the_package_says_what_it_is_for() -> None:
    control = (PACKAGE / "DEBIAN/control").read_text()
    assert "\nArchitecture: arm64\n" in control
    assert "libc6 (>= " in control, "of the program in C, which was linked with this architecture's"


def test_its_program_in_c_runs() -> None:
    done = subprocess.run(
        [APP / "bin/workload", "calibrate", "--seconds", "0.2"],
        check=True, stdout=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout)["loops_per_us"] > 0


def test_its_supervisor_attaches_and_goes() -> None:
    def state() -> str:
        assert supervisor.poll() is None, (root / "log").read_text()
        done = subprocess.run(
            [program, "status", "--json"], env=env, stdout=subprocess.PIPE, text=True, timeout=120
        )
        return str(json.loads(done.stdout)["state"]) if done.returncode == 0 else ""

    program = PACKAGE / "usr/bin/scx-gamer"
    with directories() as root:
        folders = {"SCX_GAMER_RUNTIME_DIR": str(root / "run"), "SCX_GAMER_STATE_DIR": str(root)}
        env = {**os.environ, **folders}
        with (root / "log").open("wb") as log:
            supervisor = subprocess.Popen([program, "run", "--mode", "always"], env=env, stderr=log)
        try:
            wait_until("attached", lambda: state() == "attached", 240, 1)
            assert kernel_state() == "enabled"
        finally:
            supervisor.terminate()
            assert supervisor.wait(60) == 0, (root / "log").read_text()
        assert kernel_state() == "disabled"

# SPDX-License-Identifier: GPL-2.0-only
"""What sched_ext's own CI throws at a scheduler: it must hold, and nobody may starve."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.vm.attach.conftest import attach, attached, events, refills
from tests.vm.attach.test_attach import bound_ns

SECONDS = int(os.environ.get("SCX_GAMER_STRESS_S", "60"))


def _options() -> list[str]:
    known = subprocess.run(
        ["stress-ng", "--help"], capture_output=True, text=True, check=False
    ).stdout
    wanted = {"--affinity-delay": ["--affinity-delay", "1"], "--affinity-pin": ["--affinity-pin"]}
    return [word for option, words in wanted.items() if option in known for word in words]


def worked(report: str) -> dict[str, int]:
    """Operations that each kind of load says it has done."""
    return {name: int(ops) for name, ops in re.findall(r"\] (\w+) +(\d+) +\d+\.\d+ ", report)}


def test_the_ci_stress_does_not_eject_it(tmp_path: Path) -> None:
    cpus = str(os.cpu_count() or 1)
    command = ["stress-ng", "--aggressive", "-M", "-c", cpus, "-f", cpus, "--affinity", "1"]
    command += [*_options(), "--temp-path", str(tmp_path), "--timeout", str(SECONDS)]
    with attach() as life:
        before = refills()
        with (
            (tmp_path / "report").open("w") as report,
            subprocess.Popen(command, cwd=tmp_path, stdout=report, stderr=report) as stress,
        ):
            life.sleep(SECONDS)
            stress.wait(60)
        said = (tmp_path / "report").read_text()
        assert worked(said).keys() >= {"cpu", "fork", "affinity"}, said
        assert min(worked(said).values()) > 0, said
        assert attached() or life.ended()
        assert refills() == before, events()
        print(f"oldest waiter {life.state.get('oldest_wait_max_ns') / 1e6:.1f} ms")
        assert life.state.get("oldest_wait_max_ns") < bound_ns(300)

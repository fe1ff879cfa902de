# SPDX-License-Identifier: GPL-2.0-or-later
"""The limiter and the scheduler do without each other, and without the kernel's help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.doctor.programs import network_limit
from scx_gamer.libbpf import Object, find_object
from scx_gamer.scheduler.sysfs import state
from tests.vm.harness import Supervised, foreign_scheduler, start_supervisor, wait_until
from tests.vm.netlimit.world import PAIR, Cgroup, attach_for_good, cli, configured, run, tree, typed

Make = Callable[[str], Cgroup]
SYSRQ = Path("/proc/sysrq-trigger")


def limit(sup: Supervised, group: Cgroup) -> None:
    sup.ask("net_limit", target=str(group.sleeper().pid), down="8 Mbit/s", up="4 Mbit/s")
    assert tree() == {group.path: PAIR}


@pytest.mark.needs(str(SYSRQ))
def test_the_limit_outlives_the_scheduler(cgroup: Make) -> None:
    """Thrown out by the kernel, switched off, attached again: the same programs stay on the cgroup."""
    group = cgroup("scxg-a")
    with start_supervisor(SupervisorOptions(mode="always", input=False)) as sup:
        limit(sup, group)
        before = run("bpftool", "cgroup", "show", str(group.folder))
        SYSRQ.write_text("S")
        wait_until("thrown out", lambda: state() == "disabled", 60)
        sup.wait_state("off")
        assert tree() == {group.path: PAIR}
        sup.ask("start")
        sup.wait_state("attached")
        sup.ask("stop")
        sup.wait_state("off")
        assert run("bpftool", "cgroup", "show", str(group.folder)) == before
        sup.ask("start")
        sup.wait_state("attached")
        sup.ask("net_release")
        assert tree() == {} and sup.state() == "attached", "nor does the scheduler mind"


def test_the_limit_works_beside_another_scheduler(cgroup: Make) -> None:
    group = cgroup("scxg-a")
    with (
        foreign_scheduler(),
        configured("", mode="always", state="conflict") as sup,
    ):
        limit(sup, group)
    assert tree() == {}


# The shell's, as a user's own namespace would have it; what follows sees no other.
NO_CGROUPS = "umount -l /sys/fs/cgroup"
HYBRID = (
    "umount -l /sys/fs/cgroup && mount -t tmpfs none /sys/fs/cgroup &&"
    " mkdir /sys/fs/cgroup/unified /sys/fs/cgroup/systemd &&"
    " mount -t cgroup2 none /sys/fs/cgroup/unified &&"
    " mount -t cgroup -o none,name=scxg none /sys/fs/cgroup/systemd"
)


def inside(mounts: str) -> list[str]:
    """Run a command in a mount namespace changed so."""
    return ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh"]


# The whole of doctor takes its time.
FINDINGS = """
from scx_gamer.doctor.programs import network_limit
print(*network_limit(), sep="\\n")
"""


def doctor(*prefix: str) -> str:
    """Return doctor's lines about the network limit, run by a command."""
    if not prefix:
        return "\n".join(map(str, network_limit()))
    done = subprocess.run(
        [*prefix, sys.executable, "-c", FINDINGS],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_scheduler_works_without_cgroups(cgroup: Make) -> None:
    group = cgroup("scxg-a")
    toml = '[network]\nenabled = true\ntargets = ["unit:scxg-*"]\n'
    with configured(toml, "always", "attached", inside(NO_CGROUPS)) as sup:
        done = cli(sup, "net", "limit", str(group.sleeper().pid), "--down", "8M")
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done
        assert "no cgroup2 hierarchy is mounted" in done.stderr and "doctor" in done.stderr
        assert "not available: no cgroup2" in cli(sup, "net", "status").stdout
        sup.ask("game_add", pid=group.sleeper().pid)
        assert sup.state() == "attached" and tree() == {}
        assert sup.text().count("no cgroup2 hierarchy is mounted") == 1
    assert "no cgroup2 is mounted" in doctor(*inside(NO_CGROUPS))


def test_a_hybrid_hierarchy_is_found(cgroup: Make) -> None:
    group = cgroup("scxg-a")
    with configured("", prefix=inside(HYBRID)) as sup:
        limit(sup, group)
    assert "hybrid hierarchy, cgroup2 on /sys/fs/cgroup/unified" in doctor(*inside(HYBRID))


@pytest.fixture
def orphaned(cgroup: Make) -> Cgroup:
    """Another life's program on a cgroup, the way that stays."""
    group = cgroup("scxg-a")
    with Object.open(find_object("netlimit")) as older:
        older.load()
        attach_for_good(older, group)
    return group


def test_doctor_and_the_next_start_see_what_stayed(orphaned: Cgroup) -> None:
    assert tree() == {orphaned.path: ["scxg_net_down"]}
    said = doctor()
    assert f"1 programs of ours are on {orphaned.path} though no supervisor runs" in said, said
    assert "sudo scx-gamer net release" in said
    with configured("") as sup:
        assert tree() == {}
        assert "detached 1 network programs of an earlier supervisor" in sup.text()
        assert sup.ask("snapshot")["network_counters"]["leftovers"] == 1
    assert "no program of ours is on any cgroup" in doctor()


def test_root_takes_away_what_stayed(orphaned: Cgroup, tmp_path: Path) -> None:
    """The unit may not list programs; without that right nothing is claimed, and nothing is taken."""
    nobody = Supervised(subprocess.Popen(["true"]), tmp_path, tmp_path / "log")
    nobody.process.wait(60)
    weak = ["setpriv", "--bounding-set=-sys_admin"]
    assert "leftovers not looked for" in doctor(*weak)
    done = typed(nobody, "net", "release", prefix=weak)
    assert done.returncode == 3 and "cannot search for programs" in done.stderr, done
    assert tree() == {orphaned.path: ["scxg_net_down"]}
    done = cli(nobody, "net", "release")
    assert (done.returncode, done.stdout) == (
        0,
        "no supervisor runs; detached 1 programs of an earlier one\n",
    ), done
    assert tree() == {}
    done = cli(nobody, "net", "release")
    assert done.returncode == 3 and "not running" in done.stderr, "nothing left to take"

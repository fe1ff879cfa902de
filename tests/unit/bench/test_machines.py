# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of tests/vm/lockstep/machines, and what QEMU and the guest are told of them."""

import re

import pytest

from tests.vm.vmlib import foreign, kernels, machines
from tests.vm.vmlib.machines import MachineError, find, parse

SIMPLE = 'about = "x"\n[[cores]]\ncount = 2\nthreads = 1\nspeed = 1.0\ndie = 0\n'


@pytest.mark.parametrize("name", machines.names())
def test_each_machine_is_whole(name: str) -> None:
    machine = find(name)
    assert machine.name == name
    assert [cpu.number for cpu in machine.cpus] == list(range(len(machine.cpus)))
    assert machine.cpus[0].slot == 0  # the boot CPU
    assert len({cpu.slot for cpu in machine.cpus}) == len(machine.cpus)
    added = machine.qemu_options("").count("-device")
    assert int(machine.smp().partition(",")[0]) + added == len(machine.cpus)
    assert machine.rates().count("cpu=") == machine.cpus[-1].slot + 1


@pytest.mark.parametrize("name", machines.names())
def test_each_number_has_its_source_beside_it(name: str) -> None:
    """A number that is not a count, a share of one or a mere translation of another stands below a comment."""
    paragraphs = (machines.FOLDER / f"{name}.toml").read_text().split("\n\n")
    for text in paragraphs:
        if re.search(r"^(sibling|to_core|to_die) ", text, re.MULTILINE):
            assert text.startswith("# "), text


def test_flat4_is_the_guest_without_a_machine() -> None:
    machine = find("flat4")
    assert (machine.smp(), machine.qemu_options("x"), machine.kernel_options()) == ("4", "x", [])
    assert not machine.setup()
    assert machine.rates() == (
        "sibling=1000 core=0,0 die=0,0 cpu=1000,0,0 cpu=1000,1,0 cpu=1000,2,0 cpu=1000,3,0"
    )


def test_siblings_share_a_core() -> None:
    machine = find("smt8")
    assert [(cpu.core, cpu.thread) for cpu in machine.cpus[:3]] == [(0, 0), (0, 1), (1, 0)]
    assert machine.rates().startswith("sibling=620 ")


def test_a_slow_core_has_one_thread_of_two() -> None:
    machine = find("hybrid12")
    assert [(cpu.slot, cpu.core, cpu.speed) for cpu in machine.cpus[7:10]] == [
        (7, 3, 1.0), (8, 4, 0.55), (10, 5, 0.55),
    ]  # fmt: skip
    assert machine.smp().startswith("9,maxcpus=16,")
    assert machine.qemu_options("").count("thread-id=0") == 3
    assert machine.kernel_options() == ["nr_cpus=12"]
    assert "echo 563 >/run/machine-sysfs/cpu11/cpu_capacity" in machine.setup()


def test_a_board_has_its_capacities_in_the_device_tree() -> None:
    machine = find("rk3588")
    assert (kernels.newest(machine.architecture), kernels.newest()) == ("7.2-arm64", "newest")
    assert not machine.setup()
    found = foreign.capacities(len(machine.cpus))
    assert found == [cpu.sysfs["cpu_capacity"] for cpu in machine.cpus]
    assert [round(capacity / max(found), 3) for capacity in found] == [
        c.speed for c in machine.cpus
    ]


def test_smt_is_switched_off_before_the_files_are_laid_over() -> None:
    text = SIMPLE.replace("die = 0\n", 'die = 0\nsysfs = { "a/b" = 7 }\n')
    lines = parse("x", f"smt_off = true\n{text}").setup().splitlines()
    assert lines[0].endswith("/smt/control")
    assert lines[-1].startswith("mount -t overlay ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("about = ", "TOMLDecodeError"),
        ('about = "x"', "'cores'"),
        ("sibling = 1.5\n" + SIMPLE, "1.5 beside a busy sibling"),
        ("colour = 1\n" + SIMPLE, "unknown keys: colour"),
        (SIMPLE + "colour = 1\n", "unknown keys of a group of cores: colour"),
        (SIMPLE.replace("1.0", "0"), "speed 0.0"),
        (SIMPLE.replace("count = 2", "count = 200"), "200 CPUs"),
        (SIMPLE.replace("die = 0", "die = 1"), "dies are not numbered"),
        ("to_core = { us = 3 }\n" + SIMPLE, "TypeError"),
    ],
)
def test_a_bad_file_is_one_line(text: str, says: str) -> None:
    with pytest.raises(MachineError, match=r"^x\.toml: ") as caught:
        parse("x", text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_machine_lists_those_there_are() -> None:
    with pytest.raises(MachineError, match=r"flat4, .*smt8"):
        find("../flat4")

# SPDX-License-Identifier: GPL-2.0-or-later
"""One kernel of the matrix: does its verifier take all of it, at what cost, and does it attach, hold and go."""

from __future__ import annotations

import ctypes as C
import os
import platform
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scx_gamer.leakcheck import check
from scx_gamer.libbpf import Object, find_object
from scx_gamer.libbpf._native import native
from scx_gamer.scheduler.attached import OPS, fit_ops, program_costs
from tests.vm.attach.conftest import attach, gone, refills
from tests.vm.stress import stress

RECORD = Path(__file__).with_name("verified.toml")
GROWTH = 1.5  # of what is recorded, before somebody has to look
SLACK = (3000, 300)  # instructions, states: small programs may grow by more than that factor
UNKNOWN = (5000, 500)  # of a program that nobody has recorded yet
LOG_STATS = 4  # BPF_LOG_STATS of the verifier: its closing line alone
_STATS = re.compile(r"processed (\d+) insns .*?total_states (\d+) peak_states (\d+)")


def series() -> str:
    """`6.12` of 6.12.95-kml; the two builds of one series are told apart by Debian's mark."""
    release = platform.release()
    mark = re.search(r"\+deb\d+", release)
    return ".".join(release.split(".")[:2]) + (mark[0] if mark else "")


@contextmanager
def counted(name: str) -> Iterator[tuple[Object, Callable[[], dict[str, tuple[int, int]]]]]:
    """An object ready to load, and afterwards instructions and states by program."""
    library = C.CDLL(native().path)
    set_log, set_level = library["bpf_program__set_log_buf"], library["bpf_program__set_log_level"]
    set_log.argtypes, set_level.argtypes = (
        [C.c_void_p, C.c_char_p, C.c_size_t],
        [C.c_void_p, C.c_uint32],
    )
    with Object.open(find_object(name)) as obj:
        buffers = {}
        for program in obj.programs.values():
            buffers[program.name] = C.create_string_buffer(1 << 16)
            assert set_log(program._handle, buffers[program.name], 1 << 16) == 0
            assert set_level(program._handle, LOG_STATS) == 0

        def read() -> dict[str, tuple[int, int]]:
            found = {}
            for program, buffer in buffers.items():
                match = _STATS.search(buffer.value.decode("ascii", "replace"))
                if match:
                    found[program] = int(match[1]), int(match[2])
            return found

        yield obj, read


# As if every CPU had a sibling, and the first one were faster: nothing of placement is dropped as constant.
PLACED = {"has_smt": 1, "nr_home": 1, "nr_llcs": 2}


def ready(obj: Object, *, placed: bool = False) -> None:
    if OPS in obj.maps:
        cpus = os.sysconf("SC_NPROCESSORS_CONF")
        obj.set_rodata(nr_cpus=cpus, **(PLACED if placed else {}))
        fit_ops(obj, last=placed)
        obj.maps["cpu_stats"].set_max_entries(cpus)


# The small kernel has no fences, and no modules.
GPU = f"/lib/modules/{os.uname().release}/kernel/drivers/gpu"


@pytest.mark.parametrize(
    "name",
    [
        "observe", "sched", "netlimit", "threads", "frames", "flips", "interference",
        pytest.param("fences", marks=pytest.mark.needs(GPU)),
    ],
)  # fmt: skip
def test_the_verifier_takes_it_at_no_higher_price(name: str) -> None:
    with counted(name) as (obj, read):
        ready(obj)
        obj.load()
        found = read()
        costs = program_costs(obj)
    assert found.keys() == costs.keys(), "each program's verdict is in its log"
    judge(found)


def test_the_verifier_takes_placement_at_no_higher_price() -> None:
    with counted("sched") as (obj, read):
        ready(obj, placed=True)
        obj.load()
        judge(read(), "placed")


def judge(found: dict[str, tuple[int, int]], table: str = "program") -> None:
    """No program needs clearly more instructions or states than are recorded."""
    recorded = tomllib.loads(RECORD.read_text()).get(table, {})
    grown = []
    for program, (instructions, states) in sorted(found.items()):
        line = f"{series()} {table} {program} {instructions} {states}"
        print(f"VERIFIED {line}")
        keep(line)
        for what, count, known, slack in zip(
            ("instructions", "states"),
            (instructions, states),
            recorded.get(program, UNKNOWN),
            SLACK,
            strict=True,
        ):
            limit = max(GROWTH * known, known + slack)
            if count > limit:
                grown.append(f"{program}: {count} {what}, limit {limit:.0f}")
    assert not grown, f"record the new price in {RECORD.name} if it is worth it: {grown}"


def keep(line: str) -> None:
    folder = os.environ.get("SCX_GAMER_SCRATCH")
    if folder:
        with Path(folder, "verified.txt").open("a") as file:
            file.write(line + "\n")


def test_it_holds_under_stress_and_goes(tmp_path: Path) -> None:
    """Not the whole stress of tests/vm/attach, which takes minutes; enough to see that this kernel carries it."""
    with attach() as life:
        before = refills()
        with stress(10, tmp_path):
            life.sleep(10)
        assert life.total("ctx_missing") == 0 and refills() == before
        assert life.state.get("ticks") > 20 and life.state.get("timer_failed") == 0
        print(f"oldest waiter {life.state.get('oldest_wait_max_ns') / 1e6:.1f} ms")
    assert gone()


def test_cycles_leave_nothing() -> None:
    report = check.run(2)
    left = [line for line in report.findings if line.startswith(("left", "the kernel"))]
    assert report.exit_code != 2 and not left, report.findings

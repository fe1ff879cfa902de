# SPDX-License-Identifier: GPL-2.0-or-later
"""A compile beside the supervisor that waits for a game takes as long as without it: pairs, interleaved."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from scx_gamer.bench.verdict import judge
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import kernel
from tests.vm.detect.conftest import Desk
from tests.vm.harness import start_supervisor

PAIRS, FILES = 6, 2
MOST = 0.005  # of the time; in lockstep two runs differ by less
_MAKE = """
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
all: $(OBJECTS)
%.o: %.c
	gcc -O1 -c -o $@ $<
"""
_FUNCTION = (
    "int f{0}(int n) {{ int s = {0}; for (int i = 0; i < n; i++) s += s * i ^ {0}; return s; }}\n"
)


def project(folder: Path) -> None:
    folder.mkdir()
    (folder / "Makefile").write_text(_MAKE)
    for number in range(FILES):
        text = "".join(_FUNCTION.format(number * 100 + i) for i in range(8))
        (folder / f"part{number}.c").write_text(text)


def compile_s(folder: Path) -> float:
    for made in folder.glob("*.o"):
        made.unlink()
    began = time.monotonic()
    jobs = f"-j{os.cpu_count()}"
    subprocess.run(["make", "-s", jobs, "-C", folder], check=True, timeout=120)
    return time.monotonic() - began


def test_a_compile_takes_as_long_as_without(desk: Desk) -> None:
    folder = desk.root / "project"
    project(folder)
    compile_s(folder)  # reads the compiler into memory
    took: tuple[list[float], list[float]] = ([], [])  # without, with
    assert not kernel.links(), "no supervisor runs"
    for _ in range(PAIRS // 2):  # one pair begins without it, the next with it
        took[0].append(compile_s(folder))
        with start_supervisor(SupervisorOptions(mode="auto"), env=desk.env, state="idle") as sup:
            time.sleep(1)  # its start is over
            before = sup.ask("snapshot")["control"]["execs"][0]
            took[1].extend((compile_s(folder), compile_s(folder)))
            assert sup.ask("snapshot")["control"]["execs"][0] >= before + 2 * FILES
            assert sup.state() == "idle"
        took[0].append(compile_s(folder))
    verdict = judge("a compile", "time", "s", *took, larger_is_better=False)
    change = verdict.change
    print(f"{verdict}; {100 * change.low:+.2f} % to {100 * change.high:+.2f} %, {took}")
    assert change.low < MOST, "measurably slower"

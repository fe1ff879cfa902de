# SPDX-License-Identifier: GPL-2.0-only
"""A compile beside the supervisor that waits for a game takes as long as without it: pairs, interleaved."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from scx_gamer.bench.verdict import judge
from scx_gamer.options import SupervisorOptions
from tests.vm.detect.conftest import Desk
from tests.vm.harness import start_supervisor

PAIRS, FILES = 6, 4
MOST = 0.03
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
        text = "".join(_FUNCTION.format(number * 100 + i) for i in range(40))
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
    without, with_ = [], []
    for number in range(PAIRS):
        for side in (number % 2, 1 - number % 2):  # neither is always the first
            if not side:
                without.append(compile_s(folder))
                continue
            options = SupervisorOptions(mode="auto")
            with start_supervisor(options, env=desk.env, state="idle") as sup:
                time.sleep(1)  # its start is over
                told = sup.ask("snapshot")["control"]["execs"][0]
                with_.append(compile_s(folder))
                assert sup.ask("snapshot")["control"]["execs"][0] >= told + FILES
                assert sup.state() == "idle"
    verdict = judge("a compile", "time", "s", without, with_, larger_is_better=False)
    print(verdict, f"{100 * verdict.change.low:+.2f} % to {100 * verdict.change.high:+.2f} %")
    assert verdict.change.low < MOST, "measurably slower"

# SPDX-License-Identifier: GPL-2.0-only
"""policy.h, compiled for this machine with the sanitizers: a wrap or a bad shift ends the process and so the test."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
SANITIZE = "-fsanitize=address,undefined,unsigned-integer-overflow"
NR_TUNABLES = 10


def _clang() -> str:
    for name in (*(f"clang-{v}" for v in range(21, 15, -1)), "clang"):
        if path := shutil.which(name):
            return path
    raise RuntimeError("no clang: run `make test`, which installs it")


def _compile(source: str, out: Path, *flags: str) -> Path:
    here = Path(__file__).parent
    command = [
        _clang(),
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        *flags,
        "-I",
        str(TREE / "bpf/include"),
    ]
    subprocess.run([*command, str(here / source), "-o", str(out)], check=True)
    return out


@dataclass(frozen=True)
class Answer:
    """What policy.h makes of one request, times in ns."""

    rel: int
    credit: int
    key: int
    slice: int
    burst_avg: int
    victim: int
    bucket: int
    clamped: int
    boost: int
    overdue: int


FIELDS = [
    "burst",
    "burst_avg",
    "maturity",
    "class_id",
    "game_active",
    "window_open",
    "now",
    "wait",
    "index",
    "value",
    "far",
    "near",
]
DEFAULTS = (3000, 1000, 60, 24, 250, 50, 100, 500, 0, 0)

Policy = Callable[..., Answer]


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policy]:
    driver = _compile(
        "driver.c",
        tmp_path_factory.mktemp("policy") / "driver",
        "-g",
        "-O1",
        SANITIZE,
        "-fno-sanitize-recover=all",
    )
    request, answer = struct.Struct(f"<{len(FIELDS) + NR_TUNABLES}Q"), struct.Struct("<10Q")
    with subprocess.Popen([driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        source, sink = process.stdout, process.stdin
        assert source is not None
        assert sink is not None

        def ask(tun: tuple[int, ...] = DEFAULTS, **facts: int) -> Answer:
            assert set(facts) <= set(FIELDS)
            sink.write(request.pack(*(facts.get(name, 0) for name in FIELDS), *tun))
            sink.flush()
            raw = source.read(answer.size)
            assert len(raw) == answer.size, "a sanitizer ended policy.h"
            return Answer(*answer.unpack(raw))

        yield ask
        sink.close()


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _compile("simulate.c", tmp_path_factory.mktemp("policy") / "simulate", "-O2", "-g")

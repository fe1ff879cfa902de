# SPDX-License-Identifier: GPL-2.0-or-later
"""policy.h, compiled for this machine with the sanitizers: a wrap or a bad shift ends the process and so the test."""

from __future__ import annotations

import ipaddress
import struct
import subprocess
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from tests.clang import clang

TREE = Path(__file__).resolve().parents[2]
SANITIZE = "-fsanitize=address,undefined,unsigned-integer-overflow"
NR_TUNABLES = 11


def _compile(source: str, out: Path, *flags: str) -> Path:
    here = Path(__file__).parent
    command = [
        clang(),
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
    """The answers of policy.h to one request, times in ns."""

    rel: int
    credit: int
    key: int
    slice: int
    burst_avg: int
    gives_way: int
    bucket: int
    clamped: int
    boost: int
    overdue: int
    ran: int
    paid: int
    handed: int
    us: int
    after_kick: int
    beats: int
    beat_period: int
    beat_steady: int
    paid_until: int
    may_be_urgent: int
    may_all_be_urgent: int


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
    "debt",
    "slept",
    "w_class_id",
    "w_debt",
    "is_short",
    "is_kthread",
    "pending",
    "worker",
    "urgent",
    "r_urgent",
    "woke",
    "period",
    "steady",
    "paid",
    "smt",
]
DEFAULTS = (3000, 1000, 60, 24, 250, 50, 100, 100, 0, 0, 1)

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
    request = struct.Struct(f"<{len(FIELDS) + NR_TUNABLES}Q")
    answer = struct.Struct(f"<{len(fields(Answer))}Q")
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


class Shaper:
    """shaper.h in a process of its own, under the sanitizers."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._sink, self._source = process.stdin, process.stdout

    def _ask(self, request: bytes, size: int) -> bytes:
        self._sink.write(request)
        self._sink.flush()
        answer = self._source.read(size)
        assert len(answer) == size, "a sanitizer ended shaper.h"
        return answer

    def passed(self, rate: int, direction: int, packets: Sequence[tuple[int, int]]) -> bytes:
        """For each packet (ns since the one before, length) 1 or 0."""
        words = array("Q", [0, rate, direction, len(packets)])
        words.extend(word for packet in packets for word in packet)
        return self._ask(words.tobytes(), len(packets))

    def local(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        number = int(parsed)
        words = [1, number, 0, 0] if parsed.version == 4 else [2, number >> 64, number % 2**64, 0]
        return self._ask(array("Q", words).tobytes(), 1) == b"\1"


@pytest.fixture(scope="session")
def shaper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shaper]:
    binary = _compile(
        "shaper.c",
        tmp_path_factory.mktemp("shaper") / "shaper",
        "-g",
        "-O1",
        SANITIZE,
        "-fno-sanitize-recover=all",
    )
    with subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Shaper(process)
        assert process.stdin is not None
        process.stdin.close()


class InputPolicy:
    """input_policy.h in a process of its own, under the sanitizers."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._sink, self._source = process.stdin, process.stdout

    def ask(self, what: int, *words: int, size: int) -> bytes:
        """Send one request; `size` bytes come back."""
        request = array("i", [what, *words, *[0] * (7 - len(words))])
        self._sink.write(request.tobytes())
        self._sink.flush()
        answer = self._source.read(size)
        assert len(answer) == size, "a sanitizer ended input_policy.h"
        return answer


@pytest.fixture(scope="session")
def input_policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InputPolicy]:
    binary = _compile(
        "input.c",
        tmp_path_factory.mktemp("input") / "input",
        "-g",
        "-O1",
        SANITIZE,
        "-fno-sanitize-recover=all",
    )
    with subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield InputPolicy(process)
        assert process.stdin is not None
        process.stdin.close()

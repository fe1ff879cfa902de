# SPDX-License-Identifier: GPL-2.0-or-later
"""policy.h, compiled for this machine with the sanitizers: a wrap or a bad shift ends the process and so the test."""

from __future__ import annotations

import ipaddress
import struct
import subprocess
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    beat_woke: int
    paid_until: int
    may_be_urgent: int
    may_all_be_urgent: int
    quota_until: int
    hold: int
    link: int


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
    "quota",
    "beside",
    "waker_link",
]
DEFAULTS = (3000, 1000, 60, 24, 250, 50, 100, 100, 0, 0, 1)

Policy = Callable[..., Answer]
Ask = Callable[[bytes, int], bytes]  # a request, and the size of its answer


@contextmanager
def _driver(source: str, folder: Path) -> Iterator[Ask]:
    """A program that asks a header of ours, in a process of its own, under the sanitizers."""
    binary = _compile(source, folder / "driver", "-g", "-O1", SANITIZE, "-fno-sanitize-recover=all")
    with subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        sink, answers = process.stdin, process.stdout
        assert sink is not None and answers is not None

        def ask(request: bytes, size: int) -> bytes:
            sink.write(request)
            sink.flush()
            answer = answers.read(size)
            assert len(answer) == size, f"a sanitizer ended {source}"
            return answer

        yield ask
        sink.close()


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policy]:
    request = struct.Struct(f"<{len(FIELDS) + NR_TUNABLES}Q")
    answer = struct.Struct(f"<{len(fields(Answer))}Q")
    with _driver("driver.c", tmp_path_factory.mktemp("policy")) as asked:

        def ask(tun: tuple[int, ...] = DEFAULTS, **facts: int) -> Answer:
            assert set(facts) <= set(FIELDS)
            raw = asked(request.pack(*(facts.get(name, 0) for name in FIELDS), *tun), answer.size)
            return Answer(*answer.unpack(raw))

        yield ask


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _compile("simulate.c", tmp_path_factory.mktemp("policy") / "simulate", "-O2", "-g")


class Shaper:
    """Questions to shaper.h."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

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
    with _driver("shaper.c", tmp_path_factory.mktemp("shaper")) as ask:
        yield Shaper(ask)


class InputPolicy:
    """Questions to input_policy.h."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def ask(self, what: int, *words: int, size: int) -> bytes:
        """Send one request; `size` bytes come back."""
        request = array("i", [what, *words, *[0] * (7 - len(words))])
        return self._ask(request.tobytes(), size)


@pytest.fixture(scope="session")
def input_policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InputPolicy]:
    with _driver("input.c", tmp_path_factory.mktemp("input")) as ask:
        yield InputPolicy(ask)

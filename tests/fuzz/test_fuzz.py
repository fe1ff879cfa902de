# SPDX-License-Identifier: GPL-2.0-or-later
"""Half a minute for each parser, from its corpus; SCX_GAMER_FUZZ_S and SCX_GAMER_FUZZ_SEED choose otherwise."""

from __future__ import annotations

import logging
import os
import random
import re
from pathlib import Path

import pytest

from tests.fuzz.fuzzer import Breeder, fuzz
from tests.fuzz.targets import TARGETS
from tests.unit.profiles.support import TOP

CORPUS = Path(__file__).with_name("corpus")
SECONDS = float(os.environ.get("SCX_GAMER_FUZZ_S") or 30)
SEED = int(os.environ.get("SCX_GAMER_FUZZ_SEED") or random.randrange(2**32))


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes(name: str, tmp_path: Path) -> None:
    logging.disable(logging.CRITICAL)
    try:
        target = TARGETS[name](tmp_path)
        outcome = fuzz(target, corpus(name), SECONDS, SEED, TOP / "scx_gamer")
    finally:
        logging.disable(logging.NOTSET)
    print(
        f"{name}: seed {SEED}, {outcome.runs} inputs, {outcome.lines} lines, {len(outcome.found)} kept"
    )
    if outcome.crash is not None:
        data, err = outcome.crash
        raise AssertionError(f"seed {SEED}: put this into {CORPUS / name}: {data!r}") from err


def test_each_corpus_has_its_parser() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)


def test_it_finds_what_is_behind_three_doors() -> None:
    """A planted crash that only inputs bred on inputs reach."""
    source = Path(__file__)

    def planted(data: bytes) -> None:
        if data[:1] == b"\x91":
            doors = 1
            if data[1:2] == b"\x92":
                doors = 2
                if data[2:3] == b"\x93":
                    raise ValueError(doors)

    outcome = fuzz(planted, [b"aaaa"], 60, 1, source.parent)
    assert outcome.crash is not None and outcome.crash[0].startswith(b"\x91\x92\x93")


def test_a_seed_repeats_its_inputs() -> None:
    one, other = (Breeder([b"a b", b"c"], random.Random(5)) for _ in range(2))
    assert [one.next() for _ in range(200)] == [other.next() for _ in range(200)]
    assert re.search(rb"[^abc ]", b"".join(one.next() for _ in range(50)))

# SPDX-License-Identifier: GPL-2.0-or-later
"""policy.h and shaper.h under libFuzzer and the sanitizers, from the corpus that is kept."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.policy.conftest import SANITIZE, _compile

CORPUS = Path(__file__).parent / "corpus"
SECONDS = int(os.environ.get("SCX_GAMER_FUZZ_S", "30"))
SEED = int(os.environ.get("SCX_GAMER_FUZZ_SEED") or 0)  # libFuzzer draws one for 0


def test_no_input_breaks_a_promise(tmp_path: Path) -> None:
    binary = _compile(
        "fuzz.c",
        tmp_path / "fuzz",
        "-g",
        "-O1",
        f"{SANITIZE},fuzzer",
        "-fno-sanitize-recover=all",
    )
    found = tmp_path / "found"
    found.mkdir()
    command: list[str | Path] = [
        binary,
        f"-max_total_time={SECONDS}",
        f"-seed={SEED}",
        "-max_len=256",
        "-print_final_stats=1",
    ]
    command += [f"-artifact_prefix={tmp_path}/", found, CORPUS]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    units = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert units and int(units[1]) > 1000, done.stderr[-1000:]
    assert len(list(CORPUS.iterdir())) >= 8

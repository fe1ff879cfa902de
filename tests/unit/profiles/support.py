# SPDX-License-Identifier: GPL-2.0-or-later
"""Helpers of the tests of profiles."""

from __future__ import annotations

import re
from pathlib import Path

from scx_gamer.config.settings import tunable_limits

TOP = Path(__file__).resolve().parents[3]
SHIPPED = TOP / "profiles/profiles"


def constants() -> dict[str, int]:
    """Return the values of the enumerators in abi.h."""
    text = (TOP / "bpf/include/abi.h").read_text()
    found = re.findall(r"^\s*(SCXG_\w+) = (\d+),", text, re.MULTILINE)
    return {name: int(value) for name, value in found if name != "SCXG_NR_TUNABLES"}


LIMITS = tunable_limits(constants())

# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages for users, and the commands in their fenced blocks, for the tests that run them."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
NAMES = (
    "install",
    "first-game",
    "troubleshooting",
    "netlimit",
    "security",
    "how-it-works",
    "contributing",
)
PAGES = tuple(TOP / "docs" / f"{name}.md" for name in NAMES)


def commands_of(page: Path) -> list[str]:
    """Lines of the blocks without a language: commands, without `sudo` and comments."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = (
        line.split("#")[0].strip()
        for language, block in blocks
        for line in ("" if language else block).splitlines()
    )
    return [line.removeprefix("sudo ") for line in lines if line]

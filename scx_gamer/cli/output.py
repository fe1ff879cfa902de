# SPDX-License-Identifier: GPL-2.0-or-later
"""Printing of results: JSON for programs, aligned columns for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from scx_gamer.system.text import printable


def as_json(value: object) -> None:
    """Print a JSON document. It is ASCII, so that no escape sequence in a name reaches the terminal."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def as_toml(value: object) -> str:
    """Format a value as TOML; `-` for None."""
    return "-" if value is None else json.dumps(value, ensure_ascii=True, default=str)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns as wide as their widest cell, without trailing blanks."""
    cells = [list(head), *([printable(str(cell), 80) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    for line in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def pairs(items: Iterable[tuple[str, object]]) -> None:
    """Print `name: value` lines."""
    for name, value in items:
        print(f"{name + ':':<16} {printable(str(value), 400)}")

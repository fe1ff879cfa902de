# SPDX-License-Identifier: GPL-2.0-only
"""How answers are printed: JSON for programs, aligned columns for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from scx_gamer.system.text import printable


def as_json(value: object) -> None:
    """One JSON document. ASCII only: escapes in names never reach a terminal."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def as_toml(value: object) -> str:
    """A value as a TOML file would have it; - for none."""
    return "-" if value is None else json.dumps(value, ensure_ascii=True, default=str)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; no trailing blanks."""
    cells = [list(head), *([printable(str(cell), 80) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    for line in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def pairs(items: Iterable[tuple[str, object]]) -> None:
    """name: value, one a line."""
    for name, value in items:
        print(f"{name + ':':<16} {printable(str(value), 400)}")

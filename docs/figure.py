#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw docs/result.svg from the table of docs/tuning.md: docs/figure.py > docs/result.svg. A test compares them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LOADS = {
    "none": "nothing else",
    "compile": "a compile",
    "browser": "a browser",
    "memory": "memory traffic",
    "forkexec": "a storm of programs",
    "hogs-2": "two busy loops a CPU",
    "pipes": "pipes",
    "messaging": "messages",
}
TUNING = Path(__file__).with_name("tuning.md")
ROW = re.compile(r"^\| ([\w-]+), few \| [^|]* \| ([\d.]+) → ([\d.]+) \([\d.]+\) \|", re.MULTILINE)
BUDGET_MS = 1000 / 60
LEFT, TOP, STEP, WIDTH, FULL_MS = 230, 70, 40, 760, 60.0
DEFAULT, OURS = "#b0554d", "#3f8f5f"


def bar(y: float, ms: float, color: str) -> str:
    length = ms / FULL_MS * (WIDTH - LEFT - 60)
    return (
        f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="14" fill="{color}"/>'
        f'<text x="{LEFT + length + 6:.1f}" y="{y + 12}">{ms:.1f}</text>'
    )


def figure() -> str:
    found = {load: (float(a), float(b)) for load, a, b in ROW.findall(TUNING.read_text())}
    parts = []
    for number, (load, name) in enumerate(LOADS.items()):
        y = TOP + number * STEP
        parts.append(f'<text x="{LEFT - 8}" y="{y + 19}" text-anchor="end">beside {name}</text>')
        parts += [bar(y, found[load][0], DEFAULT), bar(y + 15, found[load][1], OURS)]
    height = TOP + len(LOADS) * STEP + 12
    budget = LEFT + BUDGET_MS / FULL_MS * (WIDTH - LEFT - 60)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"'
        f' font-size="13" fill="#333"><rect width="100%" height="100%" fill="#fff"/>'
        '<text x="12" y="22" font-size="15" font-weight="bold">Frame time, 99th percentile in ms: less is better</text>'
        f'<rect x="12" y="34" width="12" height="12" fill="{DEFAULT}"/>'
        '<text x="30" y="45">the kernel\'s own scheduler</text>'
        f'<rect x="240" y="34" width="12" height="12" fill="{OURS}"/><text x="258" y="45">scx_gamer</text>'
        f'<line x1="{budget:.1f}" x2="{budget:.1f}" y1="{TOP - 8}" y2="{height - 12}" stroke="#999"'
        f' stroke-dasharray="4 3"/><text x="{budget + 4:.1f}" y="{TOP - 10}" fill="#666">one frame at 60 fps</text>'
        f"{''.join(parts)}</svg>\n"
    )


if __name__ == "__main__":
    sys.stdout.write(figure())

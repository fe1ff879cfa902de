# SPDX-License-Identifier: GPL-2.0-or-later
"""A terminal's screen as an SVG for the documentation. SCX_GAMER_PICTURE=1 TESTS=top prints one of a real `top`."""

from __future__ import annotations

from itertools import groupby
from xml.sax.saxutils import escape

import pyte

_W, _H, _PAD = 8.4, 17, 10
_COLORS = {
    "default": "#d0d0d0", "black": "#606060", "red": "#ff6b6b", "green": "#7ddc8a", "brown": "#e8c268",
    "blue": "#7aa8ff", "magenta": "#d79bff", "cyan": "#6fd3e0", "white": "#ffffff",
}  # fmt: skip


def svg(screen: pyte.Screen) -> str:
    """One text element for each run of equal colour and weight."""
    rows = []
    for y in range(screen.lines):
        cells = [(x, screen.buffer[y][x]) for x in range(screen.columns)]
        for (color, bold, reverse), run in groupby(
            cells, key=lambda cell: (cell[1].fg, cell[1].bold, cell[1].reverse)
        ):
            part = list(run)
            text = "".join(cell.data for _x, cell in part)
            if not text.strip():
                continue
            fill = "#ffffff" if reverse else _COLORS.get(color, _COLORS["default"])
            weight = ' font-weight="bold"' if bold or reverse else ""
            rows.append(
                f'<text x="{_PAD + part[0][0] * _W:.1f}" y="{_PAD + (y + 1) * _H - 4}" fill="{fill}"{weight}'
                f' xml:space="preserve">{escape(text.rstrip())}</text>'
            )
    width, height = screen.columns * _W + 2 * _PAD, screen.lines * _H + 2 * _PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        ' font-family="monospace" font-size="14">'
        f'<rect width="100%" height="100%" rx="6" fill="#1b1d23"/>{"".join(rows)}</svg>\n'
    )

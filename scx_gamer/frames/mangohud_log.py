# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of MangoHud's logs, whole or as they grow.

A log has lines about the system, a header with `frametime` in ms (and `elapsed` since its begin in ns, from 0.6 on),
then a row for each frame. `log_versioning` adds lines before them (src/logging.cpp, writeFileHeaders()).
"""

from __future__ import annotations

from typing import NamedTuple

from scx_gamer.system.text import printable

_LONGEST_MS = 3_600_000.0  # an hour; longer, infinite or NaN values mean a damaged log
_LONGEST_NS = 1 << 53  # a hundred days
_MAX_LINE = 4096
_MAX_HEAD = 64  # lines before the header
_SHOWN = 40
_COLUMN, _ELAPSED = "frametime", "elapsed"


class LogError(ValueError):
    """Text that is not of a MangoHud log."""


class Row(NamedTuple):
    """One frame: its time in ms, and when it ended, in ns since the begin of the log; None in old logs."""

    took_ms: float
    elapsed_ns: int | None


class LogParser:
    """Text of one log in, rows out; the text may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = ""
        self._line = 0
        self._columns: tuple[int, int | None] | None = None

    @property
    def has_header(self) -> bool:
        return self._columns is not None

    def feed(self, text: str) -> list[Row]:
        """Return the rows that `text` completes. Raises LogError."""
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > _MAX_LINE:
            raise LogError(f"line {self._line + 1} is longer than {_MAX_LINE} characters")
        return [row for line in lines if (row := self._row(line)) is not None]

    def end(self) -> list[Row]:
        """Return the row of a last line without a line feed. Raises LogError."""
        return self.feed("\n") if self._rest else []

    def skip(self) -> None:
        """Forget the line that has begun: what follows it is not read."""
        self._rest = ""

    def _row(self, line: str) -> Row | None:
        self._line += 1
        cells = line.rstrip("\r").split(",")
        if self._columns is None:
            if _COLUMN in cells:
                elapsed = cells.index(_ELAPSED) if _ELAPSED in cells else None
                self._columns = cells.index(_COLUMN), elapsed
            elif self._line > _MAX_HEAD:
                raise LogError(f"it has no column {_COLUMN!r}")
            return None
        column, elapsed = self._columns
        if len(cells) <= column:
            return None
        took_ms = self._number(cells[column], "frame time", _LONGEST_MS)
        if took_ms <= 0:
            return None
        if elapsed is None or len(cells) <= elapsed:
            return Row(took_ms, None)
        return Row(took_ms, int(self._number(cells[elapsed], "time since the begin", _LONGEST_NS)))

    def _number(self, cell: str, what: str, most: float) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = most + 1
        if not -most <= value <= most:
            raise LogError(f"line {self._line}: {printable(cell, _SHOWN)!r} is not a {what}")
        return value

# SPDX-License-Identifier: GPL-2.0-or-later
"""Text for a terminal, a log line or a metric label: escaping of what is untrusted, and times."""

from __future__ import annotations


def printable(text: str | bytes, limit: int = 256) -> str:
    """Return `text` as one line without control, format or undecodable characters, at most `limit` characters.

    Escapes are \\xNN and \\uNNNN, so two names that differ stay different. A text that is cut ends in an ellipsis.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    out: list[str] = []
    length = 0
    for char in text:
        piece = _shown(char)
        if length + len(piece) > limit:
            while out and length + 1 > limit:
                length -= len(out.pop())
            out.append("…" if limit else "")
            break
        out.append(piece)
        length += len(piece)
    return "".join(out)


def _shown(char: str) -> str:
    code = ord(char)
    if 0x20 <= code < 0x7F:
        return "\\\\" if char == "\\" else char
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if char.isprintable():
        return char
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def time_text(us: float) -> str:
    """Format microseconds with three digits and a unit."""
    for limit, factor, unit in ((1e3, 1, "us"), (1e6, 1e3, "ms")):
        if us < limit:
            return f"{us / factor:.3g} {unit}"
    return f"{us / 1e6:.3g} s"


def ago(seconds: float) -> str:
    """Format a duration to the minute, or to the second below one."""
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"

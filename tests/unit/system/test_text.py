# SPDX-License-Identifier: GPL-2.0-only
"""Hostile names never reach a terminal, a log or a label as they are."""

from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.system.text import printable


def test_plain_text_stays() -> None:
    assert printable("Counter-Strike 2 (Proton) é 日本") == "Counter-Strike 2 (Proton) é 日本"


def test_controls_are_shown() -> None:
    assert printable("a\nb\x1b[2Jc\x07") == "a\\x0ab\\x1b[2Jc\\x07"
    assert printable("\u202egpj.exe") == "\\u202egpj.exe"
    assert printable("x\u2028y") == "x\\u2028y"


def test_bytes_that_are_not_utf8() -> None:
    assert printable(b"ok\xff\xfe") == "ok\\xff\\xfe"
    assert printable("ok\udcff") == "ok\\xff"


def test_a_written_escape_is_not_a_real_one() -> None:
    assert printable("\\x1b") != printable("\x1b")


@given(st.text() | st.binary(), st.integers(min_value=1, max_value=64))
def test_always_one_bounded_encodable_line(text: str | bytes, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    assert shown.isprintable()
    shown.encode("utf-8")

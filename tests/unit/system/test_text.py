# SPDX-License-Identifier: GPL-2.0-or-later
"""Escaping of hostile names before they reach a terminal, a log or a label."""

from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.system.text import printable


def test_plain_text_is_unchanged() -> None:
    assert printable("Counter-Strike 2 (Proton) é 日本") == "Counter-Strike 2 (Proton) é 日本"


def test_control_characters_are_escaped() -> None:
    assert printable("a\nb\x1b[2Jc\x07") == "a\\x0ab\\x1b[2Jc\\x07"
    assert printable("\u202egpj.exe") == "\\u202egpj.exe"
    assert printable("x\u2028y") == "x\\u2028y"


def test_bytes_that_are_not_utf8_are_escaped() -> None:
    assert printable(b"ok\xff\xfe") == "ok\\xff\\xfe"
    assert printable("ok\udcff") == "ok\\xff"


def test_a_literal_escape_differs_from_an_escaped_byte() -> None:
    assert printable("\\x1b") != printable("\x1b")


@given(st.text() | st.binary(), st.integers(min_value=1, max_value=64))
def test_always_one_bounded_encodable_line(text: str | bytes, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    assert shown.isprintable()
    shown.encode("utf-8")

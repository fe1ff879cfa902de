# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and objects of the tests in guests, where a compiler takes ten seconds: `make programs` builds them."""

from __future__ import annotations

from pathlib import Path

TREE = Path(__file__).parents[1]


def built(source: Path) -> Path:
    """The program, or the object, of a source below tests/vm. Raises FileNotFoundError if it was not built since."""
    path = (TREE / "build/tests" / source.relative_to(TREE / "tests/vm")).with_suffix("")
    path = path.with_suffix(".bpf.o") if path.suffix == ".bpf" else path
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        raise FileNotFoundError(f"{path} is missing, or older than its source: run `make programs`")
    return path

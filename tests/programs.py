# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and objects of the tests in guests, where a compiler takes ten seconds: `make programs` builds them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).parents[1]
_E_MACHINE = slice(18, 20)  # of an ELF header


def built(source: Path) -> Path:
    """The program, or the object, of a source below tests/vm. Raises FileNotFoundError if it was not built since.

    A program is compiled here if that one is another architecture's; an object is every architecture's.
    """
    path = (TREE / "build/tests" / source.relative_to(TREE / "tests/vm")).with_suffix("")
    path = path.with_suffix(".bpf.o") if path.suffix == ".bpf" else path
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        raise FileNotFoundError(f"{path} is missing, or older than its source: run `make programs`")
    if path.suffix == ".o" or _machine(path) == _machine(Path(sys.executable)):
        return path
    own = Path(tempfile.gettempdir(), path.name)
    if not own.exists():
        subprocess.run(
            ["cc", "-O1", "-pthread", str(source), "-o", str(own)], check=True, timeout=300
        )
    return own


def _machine(program: Path) -> bytes:
    with open(program, "rb") as file:
        return file.read(_E_MACHINE.stop)[_E_MACHINE]

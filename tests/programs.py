# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that tests run in guests, and where they are.

A compiler takes ten seconds in a guest, so `make programs` builds them before.
"""

from __future__ import annotations

import re
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
        make = (TREE / "Makefile").read_text()
        (flags,) = re.findall(r"^TEST_CFLAGS := (.+)$", make, re.MULTILINE)
        command = ["cc", *flags.split(), str(source), "-o", str(own)]
        subprocess.run(command, check=True, timeout=300)
    return own


def _machine(program: Path) -> bytes:
    with open(program, "rb") as file:
        return file.read(_E_MACHINE.stop)[_E_MACHINE]

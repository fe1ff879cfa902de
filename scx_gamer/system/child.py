# SPDX-License-Identifier: GPL-2.0-or-later
"""Start of helper programs isolated from the caller: neither its folder nor its environment selects their code."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Python puts the current folder first in sys.path for -c and -m, so root would import ./pathlib.py of any folder it
# stands in. -I (isolated) leaves out that folder, PYTHON* and the user's own site-packages.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OURS = "SCX_GAMER_"
_ROOT = str(Path(__file__).resolve().parents[2])


def python(module: str, interpreter: str = sys.executable) -> tuple[str, ...]:
    """Return the start of a command line that runs `main()` of a module of ours in isolated mode."""
    program = (
        f"import sys; sys.path.insert(0, {_ROOT!r}); from {module} import main; sys.exit(main())"
    )
    return interpreter, "-I", "-c", program


def environment(keep: tuple[str, ...] = ()) -> dict[str, str]:
    """Return a minimal environment: fixed search path and locale, our own variables, and those named in `keep`."""
    kept = {n: v for n, v in os.environ.items() if n.startswith(_OURS) or n in keep}
    return {"PATH": SEARCH_PATH, "LANG": "C.UTF-8", **kept}

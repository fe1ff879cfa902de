# SPDX-License-Identifier: GPL-2.0-only
"""Exit dumps: what the kernel said when it threw the scheduler out, for a bug report."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from scx_gamer.exits import ExitRecord
from scx_gamer.paths import write_atomic

log = logging.getLogger(__name__)

KEEP = 20


def save(directory: Path, record: ExitRecord, context: dict[str, object]) -> Path | None:
    """Write one dump with its context, drop the oldest; None (logged) if it cannot be written."""
    path = directory / f"{record.generation}-{record.name}.json"
    data = json.dumps({"exit": asdict(record), "context": context}, indent=1, default=str)
    try:
        write_atomic(path, data.encode(), 0o640, sync=False)
        _prune(directory)
    except OSError as err:
        log.error("cannot keep the dump of generation %d: %s", record.generation, err.strerror)
        return None
    return path


def _prune(directory: Path) -> None:
    found = []
    for path in directory.glob("*-*.json"):
        number = path.name.split("-")[0]
        if number.isdecimal():
            found.append((int(number), path))
    for _generation, path in sorted(found)[:-KEEP]:
        path.unlink(missing_ok=True)

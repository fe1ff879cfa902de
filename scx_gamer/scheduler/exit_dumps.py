# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit dumps: the kernel's report on a scheduler that it ended, for a bug report."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.system.files import write_atomic

log = logging.getLogger(__name__)

KEEP = 20


def save(directory: Path, record: ExitRecord, context: dict[str, object]) -> Path | None:
    """Write one dump with its context and drop the oldest; log a failure and return None."""
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
    for name in os.listdir(directory):
        number, dash, kind = name.partition("-")
        if number.isdecimal() and dash and kind.endswith(".json"):
            found.append((int(number), name))
    for _generation, name in sorted(found)[:-KEEP]:
        with suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}")

# SPDX-License-Identifier: GPL-2.0-or-later
"""status.json and hud in the runtime directory, for readers without a connection to the socket."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from scx_gamer.system.files import write_atomic
from scx_gamer.system.paths import Paths

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import StatusBody

log = logging.getLogger(__name__)


class Publisher:
    """Writer of both files; a failure is logged once."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._failed = False
        self.write_errors = 0

    def write(self, status: StatusBody, hud: str) -> None:
        try:
            data = json.dumps(status, indent=1, default=str).encode() + b"\n"
            write_atomic(self._paths.status_file, data, 0o644, sync=False)
            write_atomic(self._paths.hud_file, hud.encode() + b"\n", 0o644, sync=False)
        except OSError as err:
            self.write_errors += 1
            if not self._failed:
                log.error("cannot publish the status: %s", err)
            self._failed = True
        else:
            self._failed = False

    def remove(self) -> None:
        for path in (self._paths.status_file, self._paths.hud_file):
            try:
                path.unlink(missing_ok=True)
            except OSError as err:
                log.warning("cannot remove %s: %s", path, err.strerror)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Log lines without control characters. Apart from text.py, because commands of one request start without logging."""

from __future__ import annotations

import logging
from typing import Any

from scx_gamer.system.text import printable


class SafeFormatter(logging.Formatter):
    """A log formatter whose messages are one printable line each; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message, 4096)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(printable(line, 1024) for line in super().formatException(ei).split("\n"))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Prometheus exposition: metric names, samples, the text format and the exporter. Imports `scheduler` and `system`."""

from scx_gamer.metrics.exposition import open_exporter, process, text_of
from scx_gamer.metrics.samples import Names, shipped_names, wait_buckets
from scx_gamer.metrics.specs import PREFIX, SPECS, STANDARD

__all__ = [
    "PREFIX", "SPECS", "STANDARD", "Names", "open_exporter", "process", "shipped_names", "text_of",
    "wait_buckets",
]  # fmt: skip

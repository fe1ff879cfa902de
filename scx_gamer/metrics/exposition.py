# SPDX-License-Identifier: GPL-2.0-or-later
"""Exposition of a status snapshot in the Prometheus text format, in parts of little work each.

prometheus-client is imported at the first scrape: a supervisor that nobody scrapes does not pay for it.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from scx_gamer.metrics.exporter import Exporter
from scx_gamer.metrics.samples import (
    NS,
    Names,
    samples,
    shipped_names,
    standard_samples,
    wait_buckets,
)
from scx_gamer.metrics.specs import PREFIX, SPECS, STANDARD
from scx_gamer.system import procfs
from scx_gamer.system.loop import Loop
from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from scx_gamer.control.snapshot import SnapshotBody

Snapshot: TypeAlias = "Callable[[], SnapshotBody]"


def families(snap: SnapshotBody, names: Names | None = None) -> Iterator[Metric]:
    """Yield all metrics of a snapshot, grouped by name."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    names = names or shipped_names()
    for prefix, specs, values in (
        (PREFIX, SPECS, samples(snap, names)),
        ("", STANDARD, standard_samples(snap)),
    ):
        found: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, labels, value in values:
            family = found.get(name)
            if family is None:
                spec = specs[name]
                make = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
                family = make(prefix + name, spec.help, labels=spec.labels)
                found[name] = family
            family.add_metric([printable(label, 64) for label in labels], float(value))
        yield from found.values()
    for name, counts, sums in _histograms(snap):
        spec = SPECS[name]
        histogram = HistogramMetricFamily(PREFIX + name, spec.help, labels=spec.labels)
        size = len(counts) // len(sums)
        for number, total in enumerate(sums):
            buckets = wait_buckets(counts[number * size : (number + 1) * size])
            label = [names.classes[number]] if spec.labels else []
            histogram.add_metric(label, buckets, total * NS)
        yield histogram
    if frames := snap.get("frame_buckets"):
        spec = SPECS["game_frame_seconds"]
        histogram = HistogramMetricFamily(
            PREFIX + "game_frame_seconds", spec.help, labels=spec.labels
        )
        filled = {**frames["at_most"], "+Inf": frames["count"]}
        histogram.add_metric(
            [frames["source"]],
            [(bound, float(count)) for bound, count in filled.items()],
            frames["sum_ns"] * NS,
        )
        yield histogram


def _histograms(snap: SnapshotBody) -> Iterator[tuple[str, list[int], list[int]]]:
    """Yield name, counts of buckets and sums in nanoseconds; both once a class if there are classes."""
    for values, field, name in (
        (snap.get("cpu_stats", {}), "wait", "wait_seconds"),
        (snap.get("cpu_stats", {}), "input", "input_to_run_seconds"),
        (snap.get("control", {}), "class_delay", "exec_to_class_seconds"),
    ):
        if f"{field}_hist" in values:
            yield name, values[f"{field}_hist"], values[f"{field}_sum_ns"]


@dataclass(frozen=True)
class _Alone:
    """One metric as the whole of a registry: what is written is bounded by one."""

    metric: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.metric


def parts(snapshot: Snapshot, names: Names | None = None) -> Iterator[bytes]:
    """Yield one scrape in the text format, in parts of little work each; the first is empty.

    Input interrupts `snapshot`, which therefore only reads.
    """
    from prometheus_client import generate_latest
    from prometheus_client.core import GaugeMetricFamily

    begin = time.monotonic()
    snap = snapshot()
    spent = time.monotonic() - begin
    yield b""
    begin = time.monotonic()
    for metric in families(snap, names):
        part = generate_latest(_Alone(metric))
        spent += time.monotonic() - begin
        yield part
        begin = time.monotonic()
    spec = SPECS["scrape_seconds"]
    took = GaugeMetricFamily(PREFIX + "scrape_seconds", spec.help, spent)
    yield generate_latest(_Alone(took))


def text_of(snapshot: SnapshotBody, names: Names | None = None) -> str:
    """Return one scrape of a snapshot."""
    return b"".join(parts(lambda: snapshot, names)).decode()


def open_exporter(loop: Loop, snapshot: Snapshot, address: str, port: int) -> Exporter:
    """Serve snapshots on a loopback address until close(). Raises ExporterError."""
    return Exporter(loop, address.strip("[]"), port, functools.partial(parts, snapshot))


@functools.cache
def _start_time_s() -> int:
    """Start of this process in seconds since 1970: the time now, less what passed since."""
    ticks = procfs.start_of(os.getpid())
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    age_s = up_s - ticks / os.sysconf("SC_CLK_TCK") if ticks is not None else 0.0
    return round(time.time() - age_s)


def process() -> dict[str, int]:
    """Return figures of this process, for its own snapshot."""
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[1])
    return {
        "cpu_ns": time.process_time_ns(),
        "resident_bytes": pages * os.sysconf("SC_PAGESIZE"),
        "start_time_s": _start_time_s(),
        "open_fds": len(os.listdir("/proc/self/fd")) - 1,  # the listing's own
        "threads": len(os.listdir("/proc/self/task")),
    }

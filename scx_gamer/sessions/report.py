# SPDX-License-Identifier: GPL-2.0-or-later
"""A session as one HTML file: no script, nothing loaded, light and dark. Every text from outside is escaped."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from scx_gamer import __version__
from scx_gamer.sessions import summary
from scx_gamer.sessions.record import FAVOURED, STATES, merged
from scx_gamer.system.text import ago, time_text

_WIDTH, _HEIGHT, _LEFT, _BELOW = 960, 150, 70, 22  # of a chart, in units of its viewBox
_POINTS = 960  # of a line; of more samples the largest of each group is drawn
_TICKS = 4
_BARS = 240  # of the chart of interferers, as _POINTS
_COLOURED = 4  # programs with a colour of their own

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --paper: #ffffff; --card: #f6f8fa;
  --game: #0969da; --rest: #bc4c00; --p0: #cf222e; --p1: #8250df; --p2: #1a7f37; --p3: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #0d1117;
  --card: #151b23; --game: #4493f8; --rest: #f0883e; --p0: #ff7b72; --p1: #d2a8ff; --p2: #7ee787; --p3: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1040px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 28px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 18px; margin: 32px 0 8px; }
p { margin: 4px 0; color: var(--soft); } .lead { color: var(--ink); font-size: 18px; margin-top: 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 14px; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: 6px 12px 6px 0; text-align: right;
  font-variant-numeric: tabular-nums; vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td:first-child, th:first-child { text-align: left; } table.facts td { text-align: left; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--line); stroke-width: 1; } .game { stroke: var(--game); } .rest { stroke: var(--rest); }
path.game, path.rest { fill: none; stroke-width: 1.5; stroke-linejoin: round; }
rect.bar { fill: var(--game); } .key { font-size: 14px; color: var(--soft); }
.key i { display: inline-block; width: 12px; height: 3px; margin: 0 6px 3px 14px; background: var(--game); }
.key i.rest { background: var(--rest); }
.by, .key i.by { fill: var(--soft); background: var(--soft); }
.by.p0, .key i.by.p0 { fill: var(--p0); background: var(--p0); }
.by.p1, .key i.by.p1 { fill: var(--p1); background: var(--p1); }
.by.p2, .key i.by.p2 { fill: var(--p2); background: var(--p2); }
.by.p3, .key i.by.p3 { fill: var(--p3); background: var(--p3); }
table.facts td:first-child { white-space: nowrap; overflow-wrap: normal; }
@media (max-width: 600px) { body { padding: 12px; } svg text { font-size: 19px; }
  table { display: block; overflow-x: auto; white-space: nowrap; }
  table.facts { display: table; white-space: normal; } }
footer { margin-top: 40px; font-size: 13px; color: var(--soft); }
"""  # fmt: skip


def html(record: Mapping[str, Any]) -> str:
    """Return the page of a record with its timeline."""
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(record["began"]))
    name = summary.title(record)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(name)}, {escape(began)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(name)}</h1>",
        f"<p>{escape(began)}, {escape(ago(record['duration_s']))}: {escape(STATES[record['state']])}</p>",
        f'<p class="lead">{escape(summary.sentence(record))}</p>',
        _tiles(record),
        *_timeline(record["timeline"]),
        *_frames(record["frames"]),
        *_waits(record),
        *_programs(record),
        "<h2>All figures</h2>",
        _table(None, summary.rows(record), "facts"),
        f"<footer>Session {record['id']}, recorded by scx-gamer {escape(__version__)}. Waits are those of runnable"
        " tasks for a CPU, of all programs of a class; percentiles are the upper ends of buckets, which double."
        " Power is that of the whole machine.</footer>",
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _tiles(record: Mapping[str, Any]) -> str:
    shown: list[tuple[str, str]] = []
    if frames := record["frames"]:
        shown += [
            ("frames a second", f"{frames['mean_fps']:.1f}"),
            ("1 % low", f"{frames['low_1_fps']:.1f}"),
        ]
    if (share := summary.on_time(record)) is not None:
        shown.append(("frames on time", f"{share:.1f} %"))
    if waits := summary.game_waits(record):
        shown += [
            ("99 % of the game's waits", f"≤ {time_text(waits['p99_us'])}"),
            ("longest wait", time_text(waits["longest_us"])),
        ]
    if rest := merged(record["waits"], summary.others(record)):
        shown.append(("99 % of the others' waits", f"≤ {time_text(rest['p99_us'])}"))
    if (mean_w := summary.watts(record)) is not None:
        shown.append(("power", f"{mean_w:.1f} W"))
    tiles = (
        f'<div class="tile"><b>{escape(b)}</b><span>{escape(a)}</span></div>' for a, b in shown
    )
    return f'<div class="tiles">{"".join(tiles)}</div>' if shown else ""


def _timeline(samples: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Yield a chart each of frames, waits and CPU time, one below the other with the same time."""
    if len(samples) < 2:
        return
    at_s = [float(sample["at_s"]) for sample in samples]
    charts = (
        ("Frame time: mean and 99 %", (("frame_mean_ms", "game"), ("frame_p99_ms", "rest")), ("mean", "99 %"), _ms),
        ("Longest waits for a CPU", (("wait_max_us", "game"), ("others_p99_us", "rest")),
         ("the game's longest", "99 % of the others'"), time_text),
        ("CPUs in use", (("game_cpu", "game"), ("others_cpu", "rest")), ("the game", "all others"), _plain),
    )  # fmt: skip
    for title, lines, names, text in charts:
        found = [(kind, [s[field] for s in samples]) for field, kind in lines]
        if any(value is not None for _, values in found for value in values):
            yield f"<h2>{escape(title)}</h2>"
            yield '<p class="key">' + "".join(
                f'<i class="{kind}"></i>{escape(name)}' for (kind, _), name in zip(found, names, strict=True)
            ) + "</p>"  # fmt: skip
            yield _chart(title, at_s, found, text)
        if names[0] == "mean":  # below the frames, because it may say why they were late
            yield from _interferers(samples, at_s)


def _rounded(top: float) -> float:
    """Return the end of a scale whose quarters are short numbers, at least `top`."""
    if not top:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(top))
    return next(
        step * unit for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * unit >= top
    )


class _Axes:
    """The frame of a chart: its scales, lines and labels. Values go from 0 to `top`."""

    def __init__(self, at_s: Sequence[float], top: float, text: Callable[[float], str]) -> None:
        self._top, self._span, self._text = _rounded(top), max(at_s[-1], 1.0), text

    def x(self, seconds: float) -> float:
        return _LEFT + seconds / self._span * (_WIDTH - _LEFT)

    def y(self, value: float) -> float:
        return 6 + (1 - value / self._top) * (_HEIGHT - 6)

    def chart(self, title: str, drawn: Iterable[str]) -> str:
        """Return the chart with what is `drawn` in it."""
        parts = []
        for tick in range(_TICKS + 1):
            value, seconds = self._top * tick / _TICKS, self._span * tick / _TICKS
            anchor = "start" if not tick else "end" if tick == _TICKS else "middle"
            x, y = self.x(seconds), self.y(value)
            parts += [
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>',
                f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(self._text(value))}</text>',
                f'<text x="{x:.1f}" y="{_HEIGHT + 16}" text-anchor="{anchor}">{escape(ago(seconds))}</text>',
            ]
        box = f"0 0 {_WIDTH} {_HEIGHT + _BELOW}"
        return f'<svg viewBox="{box}" role="img" aria-label="{escape(title)}">{"".join([*parts, *drawn])}</svg>'


def _chart(
    title: str,
    at_s: Sequence[float],
    lines: Sequence[tuple[str, Sequence[float | None]]],
    text: Callable[[float], str],
) -> str:
    axes = _Axes(at_s, max((v for _, vs in lines for v in vs if v is not None), default=0), text)
    drawn = []
    for kind, values in lines:
        path, pen_up = [], True
        for seconds, point in _thinned(at_s, values):
            if point is not None:
                path.append(f"{'M' if pen_up else 'L'}{axes.x(seconds):.1f} {axes.y(point):.1f}")
            pen_up = point is None
        drawn.append(f'<path class="{kind}" d="{"".join(path)}"/>')
    return axes.chart(title, drawn)


def _interferers(samples: Sequence[Mapping[str, Any]], at_s: Sequence[float]) -> Iterable[str]:
    """Yield the CPU time that other programs had while the game waited, coloured by who had most of it."""
    if not any(sample["taken_ms"] for sample in samples):
        return
    total: Counter[str] = Counter()
    for sample in samples:
        if sample["taken_by"]:
            total[sample["taken_by"]] += sample["taken_ms"]
    kinds = {name: f"by p{n}" for n, (name, _) in enumerate(total.most_common(_COLOURED))}
    title = "CPU time taken from the game"
    axes = _Axes(at_s, max(sample["taken_ms"] or 0 for sample in samples), _ms)
    drawn, step = [], -(-len(at_s) // _BARS)
    for first in range(0, len(at_s), step):
        group = range(first, min(first + step, len(at_s)))
        most = max(group, key=lambda n: samples[n]["taken_ms"] or 0)
        sample, left = samples[most], axes.x(at_s[first - 1] if first else 0)
        if not sample["taken_ms"]:
            continue
        y, wide = axes.y(sample["taken_ms"]), max(axes.x(at_s[group[-1]]) - left - 0.5, 0.5)
        said = f"{sample['taken_by'] or 'other programs'}, {_ms(sample['taken_ms'])} in all"
        drawn.append(
            f'<rect class="{kinds.get(sample["taken_by"], "by")}" x="{left:.1f}" y="{y:.1f}" width="{wide:.1f}"'
            f' height="{_HEIGHT - y:.1f}"><title>{escape(said)}</title></rect>'
        )
    yield f"<h2>{title}</h2>"
    key = [*kinds.items(), *([("others", "by")] if len(total) > len(kinds) else [])]
    yield '<p class="key">most of it by' + "".join(
        f'<i class="{kind}"></i>{escape(name)}' for name, kind in key
    ) + "</p>"  # fmt: skip
    yield axes.chart(title, drawn)


def _thinned(
    at_s: Sequence[float], values: Sequence[float | None]
) -> Iterable[tuple[float, float | None]]:
    """Yield at most _POINTS points, of each group the largest, so that no peak is lost."""
    step = -(-len(at_s) // _POINTS)
    for first in range(0, len(at_s), step):
        known = [value for value in values[first : first + step] if value is not None]
        yield at_s[first], max(known) if known else None


def _frames(frames: Mapping[str, Any] | None) -> Iterable[str]:
    """Yield the histogram of frame times."""
    rows = [row for row in (frames or {}).get("histogram", ()) if len(row) == 2]
    if not rows:
        return
    top, wide = max(count for _, count in rows) or 1, (_WIDTH - _LEFT) / len(rows)
    drawn = []
    for number, (end_ms, count) in enumerate(rows):
        high, left = count / top * (_HEIGHT - 6), _LEFT + number * wide
        drawn.append(
            f'<rect class="bar" x="{left:.1f}" y="{_HEIGHT - high:.1f}"'
            f' width="{max(wide - 1, 1):.1f}" height="{high:.1f}"/>'
        )
        if number % max(1, len(rows) // 8) == 0:
            middle = left + wide / 2
            drawn.append(
                f'<text x="{middle:.1f}" y="{_HEIGHT + 16}" text-anchor="middle">{escape(_ms(end_ms))}</text>'
            )
    yield "<h2>Frame times</h2>"
    yield f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _BELOW}" role="img" aria-label="histogram">{"".join(drawn)}</svg>'


def _waits(record: Mapping[str, Any]) -> Iterable[str]:
    """Yield the table of waits by class, the game's first."""
    waits = record["waits"] or {}
    if not waits:
        return
    order = [name for name in FAVOURED if name in waits] + sorted(summary.others(record))
    yield "<h2>Waits for a CPU</h2>"
    yield _table(
        ("class", "waits", "mean", "50 %", "99 %", "99.9 %", "longest"),
        (_row(name, merged(waits, [name]) or {}) for name in order),
    )


def _programs(record: Mapping[str, Any]) -> Iterable[str]:
    """Yield the tables of the programs that took CPU time from the game, and of those that were held back."""
    if (lost := record.get("taken")) and lost["programs"]:
        yield "<h2>Programs that had the CPU while the game waited for it</h2>"
        yield _table(
            ("program", "CPU time", "waits of the game", "longest"),
            (
                (one["program"] or "other programs", time_text(one["s"] * 1e6), str(one["times"]),
                 time_text(one["longest_ms"] * 1e3))
                for one in lost["programs"]
            ),
        )  # fmt: skip
    if held := record.get("held"):
        yield "<h2>Programs that were held back</h2>"
        yield _table(
            ("program", "waited", "ran", "longest wait"),
            (
                (one["program"], *(time_text(one[key] * 1e6) for key in ("waited_s", "ran_s")),
                 time_text(one["longest_ms"] * 1e3))
                for one in held
            ),
        )  # fmt: skip


def _row(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    ends = (f"≤ {time_text(one[key])}" for key in ("p50_us", "p99_us", "p999_us"))
    return name, str(one["count"]), time_text(one["mean_us"]), *ends, time_text(one["longest_us"])


def _table(head: Sequence[str] | None, rows: Iterable[Sequence[str]], kind: str = "") -> str:
    lines = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"] if head else []
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f'<table class="{kind}">{"".join(lines)}</table>'


def _ms(value: float) -> str:
    return f"{value:.3g} ms"


def _plain(value: float) -> str:
    return f"{value:.3g}"

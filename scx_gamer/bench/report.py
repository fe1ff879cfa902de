# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML report of paired runs. The only module that needs matplotlib."""

import base64
import html
import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from scx_gamer.bench.cells import Cell
from scx_gamer.bench.pairs import Outcome
from scx_gamer.bench.workload import BenchError

_GREY, _BLUE = "#8a8f98", "#2f6fde"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>scx-gamer bench</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
img{{max-width:100%}}li{{margin:.3em 0}}</style>
<h1>A game beside other work, without and with scx_gamer</h1>
<p>{runs} runs, alternating, {pairs} pairs for each load. Bars are medians.</p>
<ul>
{verdicts}
</ul>
{plots}
</html>
"""


def _plt() -> Any:
    try:
        import_module("matplotlib").use("Agg")
        return import_module("matplotlib.pyplot")
    except ImportError as e:
        raise BenchError("a report needs matplotlib", hint="install it, or omit --report") from e


def _bars(axes: Any, labels: Sequence[str], sides: Sequence[Sequence[float]]) -> None:
    width = 0.38
    for number, (values, colour, name) in enumerate(
        zip(sides, (_GREY, _BLUE), ("without", "with"), strict=True)
    ):
        at = [i + (number - 0.5) * width for i in range(len(labels))]
        bars = axes.bar(at, values, width, color=colour, label=name)
        labels_of = [f"{v:.3g}" if v < 1000 else f"{v:,.0f}" for v in values]
        axes.bar_label(bars, labels_of, fontsize=8, padding=2)
    axes.set_xticks(range(len(labels)), labels)
    axes.margins(y=0.3)  # the legend is above the bars
    axes.spines[["top", "right"]].set_visible(False)


def _median(cells: Sequence[Cell], figure: str) -> float:
    return float(median(getattr(c.frame_latency_us, figure) for c in cells)) / 1e3


def _percentiles(plt: Any, outcomes: Sequence[Outcome]) -> Any:
    figure, all_axes = plt.subplots(
        1, len(outcomes), figsize=(4.6 * len(outcomes), 3.6), squeeze=False, layout="constrained"
    )
    names = ("p50", "p99", "p999", "max")
    for axes, o in zip(all_axes[0], outcomes, strict=True):
        _bars(axes, ["p50", "p99", "p99.9", "max"],
              [[_median(side, n) for n in names] for side in (o.without, o.with_)])  # fmt: skip
        axes.set_title(o.load)
        axes.set_ylabel("vsync to present, ms")
        axes.legend(frameon=False, ncols=2, loc="upper right")
    return figure


def _waits(plt: Any, outcomes: Sequence[Outcome]) -> Any:
    figure, all_axes = plt.subplots(
        len(outcomes), 1, figsize=(9.2, 2.8 * len(outcomes)), squeeze=False, layout="constrained"
    )
    for (axes,), o in zip(all_axes, outcomes, strict=True):
        links = list(o.without[0].links_p99_us)
        _bars(axes, links,
              [[median(c.links_p99_us[n] for c in side) for n in links]
               for side in (o.without, o.with_)])  # fmt: skip
        axes.set_yscale("log")
        axes.set_title(f"{o.load}: wait of each link, p99")
        axes.set_ylabel("wake-up to first run, us")
        axes.legend(frameon=False, ncols=2, loc="upper right")
    return figure


def _timeline(plt: Any, outcomes: Sequence[Outcome]) -> Any:
    figure, axes = plt.subplots(figsize=(9.2, 3.4), layout="constrained")
    at = 0
    for o in outcomes:
        count = len(o.without)
        runs = [at + 2 * i for i in range(count)]
        axes.plot(runs, [c.low1_fps for c in o.without], "o-", color=_GREY)
        axes.plot([r + 1 for r in runs], [c.low1_fps for c in o.with_], "o-", color=_BLUE)
        axes.text(at, 1.02, o.load, fontsize=9, transform=axes.get_xaxis_transform())
        at += 2 * count
        axes.axvline(at - 0.5, color="#dddddd", zorder=0)
    axes.plot([], [], "o-", color=_GREY, label="without")
    axes.plot([], [], "o-", color=_BLUE, label="with")
    axes.set_xlabel("run, in the order of their execution")
    axes.set_ylabel("1 % low, fps")
    axes.set_ylim(0, 1.15 * max(c.low1_fps for o in outcomes for c in (*o.without, *o.with_)))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    return figure


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write a self-contained HTML file. Raises BenchError without matplotlib."""
    plt = _plt()
    images: list[str] = []
    for draw in (_percentiles, _waits, _timeline):
        figure = draw(plt, outcomes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        plt.close(figure)
        data = base64.b64encode(buffer.getvalue()).decode()
        images.append(f'<p><img alt="{draw.__name__[1:]}" src="data:image/png;base64,{data}"></p>')
    lines = [f"<li>{html.escape(str(v))}</li>" for o in outcomes for v in o.verdicts()]
    path.write_text(
        _PAGE.format(
            runs=sum(len(o.without) + len(o.with_) for o in outcomes),
            pairs=len(outcomes[0].without), verdicts="\n".join(lines), plots="\n".join(images),
        )
    )  # fmt: skip

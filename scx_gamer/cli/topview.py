# SPDX-License-Identifier: GPL-2.0-or-later
"""Rendering of `top`: two snapshots to the lines of a screen, without terminal or clock."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scx_gamer.system import procfs
from scx_gamer.system.histogram import percentile_us
from scx_gamer.system.text import ago, printable, time_text

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import GameFacts, SnapshotBody

SORTS = ("class", "cpu", "p99", "tasks")
_KEYS = "q quit  ? help  s sort  r reverse  up/down game  p pin"
_HELP = """\
CLASS    what a program is to the scheduler: the game, what it waits for, the rest
CPU%     of one CPU
WAIT     for a CPU, once ready to run, since the last update: half of the waits
         (p50) and 99 % of them (p99) took at most this; max is of the last minute
KICKS/s  times that another task made way for one of the class
queue    tasks that are ready and wait now
input    reports of your devices, and windows in which they favour the game
place    where the game's threads ran, and CPUs kept free beside them
bars     the last updates, the newest on the right; waits by powers of two
""".splitlines()
_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 120  # updates that bars go back
_NARROW = 64  # columns, below which the table has the most important ones alone
_COLORS = {
    "attached": "green",
    "idle": "cyan",
    "paused": "cyan",
    "fallback": "red",
    "conflict": "red",
    "unsupported": "red",
    "backoff": "yellow",
    "off": "yellow",
}


@dataclass
class View:
    """The state that keys change."""

    sort: str = "class"
    reverse: bool = False
    chosen: int = 0  # row in the list of games
    pinned: int | None = None  # pid
    help: bool = False

    def press(self, key: str, games: Sequence[GameFacts]) -> bool:
        """Apply a key. Return False if it ends the view."""
        if key in ("q", "escape"):
            return False
        if key == "?":
            self.help = not self.help
        elif key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key == "r":
            self.reverse = not self.reverse
        elif key in ("up", "k"):
            self.chosen = max(self.chosen - 1, 0)
        elif key in ("down", "j"):
            self.chosen = min(self.chosen + 1, max(len(games) - 1, 0))
        elif key == "p" and games:
            pid = self.order(games)[min(self.chosen, len(games) - 1)]["pid"]
            self.pinned = None if self.pinned == pid else pid
            self.chosen = 0
        return True

    def order(self, games: Sequence[GameFacts]) -> list[GameFacts]:
        """Return the games, the pinned one first and the others in their order."""
        return sorted(games, key=lambda game: game["pid"] != self.pinned)


@dataclass(frozen=True)
class ClassRow:
    """The figures of a class."""

    name: str
    tasks: int | None
    cpu: float  # percent of one CPU
    runs: float  # per second
    p50_us: float
    p99_us: float
    max_us: float
    kicks: float


class History:
    """The game's waits and frame rate at the last updates, oldest first; 0 where there was none."""

    def __init__(self) -> None:
        # Log2 of the 99th percentile in microseconds.
        self.waits: deque[float] = deque(maxlen=_HISTORY)
        self.fps: deque[float] = deque(maxlen=_HISTORY)

    def add(
        self, now: SnapshotBody, before: SnapshotBody, names: Sequence[str], seconds: float
    ) -> None:
        """Add the time between two snapshots."""
        game = next(r for r in class_rows(now, before, names, seconds) if r.name == "game")
        self.waits.append(math.log2(max(game.p99_us, 1)))
        frames = now.get("frames")
        self.fps.append(frames["recent_fps"] if frames else 0.0)


def bars(values: Collection[float], width: int) -> str:
    """Return the newest of the values as bars between 0 and the largest."""
    top = max(values, default=0.0)
    shown = list(values)[-max(width, 0) :] if width > 0 and top else []
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in shown)


@dataclass
class Threads:
    """CPU time of a process's threads between two samples, from files that need no root."""

    proc: Path = Path("/proc")
    _before: dict[int, int] = field(default_factory=dict)
    _hertz: int = field(default_factory=lambda: os.sysconf("SC_CLK_TCK"))

    def sample(self, pid: int, seconds: float) -> list[tuple[str, int, float]]:
        """Return (name, tid, percent of one CPU) of each thread, busiest first; empty if the process ended."""
        task = self.proc / str(pid) / "task"
        try:
            stats = [stat for tid in procfs.pids(task) if (stat := procfs.stat_of(tid, task))]
        except OSError:
            stats = []
        share = 100 / self._hertz / seconds if seconds > 0 else 0.0
        before, self._before = self._before, {stat.pid: stat.cpu for stat in stats}
        rows = [
            (printable(s.comm, 16), s.pid, (s.cpu - before.get(s.pid, s.cpu)) * share)
            for s in stats
        ]
        return sorted(rows, key=lambda row: (-row[2], row[1]))


def class_rows(
    now: SnapshotBody, before: SnapshotBody, names: Sequence[str], seconds: float
) -> list[ClassRow]:
    """Return a row for each class, over the time between two snapshots."""
    stats, old = now.get("cpu_stats") or {}, before.get("cpu_stats") or {}
    live = now.get("scheduler")
    tasks = live["tasks"] if live else {}
    size = len(stats.get("wait_hist", ())) // max(len(names), 1)

    def delta(name: str, at: int) -> int:
        values: Sequence[int] | None = stats.get(name)
        earlier: Sequence[int] | None = old.get(name)
        if values is None:
            return 0
        return max(values[at] - (earlier[at] if earlier else 0), 0)

    rows = []
    for number, name in enumerate(names):
        waits = [delta("wait_hist", number * size + i) for i in range(size)]
        maxima = (now.get("recent_maxima") or {}).get("wait")
        rows.append(
            ClassRow(
                name,
                tasks.get(name),
                delta("run_ns", number) / seconds / 1e7,
                delta("runs", number) / seconds,
                percentile_us(waits, 0.5),
                percentile_us(waits, 0.99),
                maxima[number] / 1e3 if maxima else 0.0,
                delta("preempt_kicks", number) / seconds,
            )
        )
    return rows


def ordered(rows: Sequence[ClassRow], view: View) -> list[ClassRow]:
    """Sort rows by the chosen column, largest first; by default in the order of the classes."""
    keys = {
        "cpu": lambda row: -row.cpu,
        "p99": lambda row: -row.p99_us,
        "tasks": lambda row: -(row.tasks or 0),
    }
    found = sorted(rows, key=keys[view.sort]) if view.sort in keys else list(rows)
    return found[::-1] if view.reverse else found


def costs(now: SnapshotBody, before: SnapshotBody) -> list[tuple[str, float, float]]:
    """Return (program, ns per run, runs) of programs that ran between two snapshots, by total time."""
    old = before.get("programs") or {}
    found = []
    for name, (ns, runs) in (now.get("programs") or {}).items():
        ns0, runs0 = old.get(name, (0, 0))
        if runs > runs0 and ns >= ns0:
            found.append((name.removeprefix("scxg_"), (ns - ns0) / (runs - runs0), runs - runs0))
    return sorted(found, key=lambda row: -row[1] * row[2])


def rates(
    now: SnapshotBody, before: SnapshotBody, seconds: float
) -> list[tuple[str, float, float]]:
    """Return (lane, events per second, windows per second)."""
    old = before.get("windows") or {}
    found = []
    for lane, window in (now.get("windows") or {}).items():
        earlier = old.get(lane, {"events": [0], "opened": [0]})
        events = sum(window["events"]) - sum(earlier["events"])
        opened = sum(window["opened"]) - sum(earlier["opened"])
        found.append((lane, max(events, 0) / seconds, max(opened, 0) / seconds))
    return found


def render(
    now: SnapshotBody,
    before: SnapshotBody,
    seconds: float,
    view: View,
    names: Sequence[str],
    threads: Sequence[tuple[str, int, float]],
    size: tuple[int, int],
    *,
    color: bool = True,
    lost: str = "",
    history: History | None = None,
) -> list[str]:
    """Return the lines of a screen, none wider than it. `lost` is the reason why the figures are old."""
    width, height = size
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        height=height,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        legacy_windows=False,
    )

    def add(text: str) -> None:
        console.print(text, overflow="ellipsis", no_wrap=True)

    for line in _head(now, lost):
        add(line)
    for line in _HELP if view.help else _flow(now, before, seconds, history or History(), width):
        add(line)
    console.print(_classes(ordered(class_rows(now, before, names, seconds), view), view, width))
    for line in _costs_and_exits(now, before):
        add(line)
    for line in _games(now, view, threads):
        add(line)
    lines = out.getvalue().splitlines()[: height - 1]
    lines += [""] * (height - 1 - len(lines))
    out.seek(0)
    out.truncate()
    add(f"[reverse]{_KEYS:<{width}.{width}}[/]")
    return lines + out.getvalue().splitlines()


def _head(now: SnapshotBody, lost: str) -> list[str]:
    state = str(now.get("state", "starting"))
    kernel = now.get("kernel")
    release = kernel["release"] if kernel else "-"
    since = ago(now.get("since_s") or 0)
    lines = [
        f"[bold]scx-gamer {escape(str(now.get('version', '')))}[/]  "
        f"[{_COLORS.get(state, 'default')} bold]{escape(state)}[/] {since}  "
        f"mode {escape(str(now.get('mode', '-')))}  generation {now.get('generation', '-')}  "
        f"kernel {_safe(release, 24)}"
    ]
    if lost:
        lines.append(f"[red]{_safe(lost, 200)}[/]")
    retry = now.get("retry_in_s")
    again = f", again in {retry:.0f} s" if retry is not None else ""
    lines.append(f"why    {_safe(now.get('cause') or '-', 120)}{again}")
    return lines


def _bars(name: str, said: str, values: Collection[float], width: int) -> str:
    """Return a line that ends in bars, as far as there is room."""
    return f"{name:7}{said}  {bars(values, width - len(said) - 10)}"


def _flow(
    now: SnapshotBody, before: SnapshotBody, seconds: float, history: History, width: int
) -> list[str]:
    input_ = now.get("input") or {}
    said = "  ".join(
        f"{lane} {events:.0f}/s ({opened:.0f} windows/s)"
        for lane, events, opened in rates(now, before, seconds)
    )
    why = f" ({_safe(input_['why'], 60)})" if input_.get("why") else ""
    live = now.get("scheduler")
    queue = "-"
    if live:
        queue = (
            f"{live['nr_queued']} waiting, the oldest {_wait(live['oldest_wait_ns'])}"
            f" (most {_wait(live['oldest_wait_max_ns'])})"
        )
        if not live.get("effects", 1):
            queue += "  [yellow]boosts off: no heartbeat[/]"
    late, latest = 0.0, 0.0
    if loop := now.get("loop"):
        late, latest = loop["lag_last_ms"], loop["lag_max_ms"]
    frames = now.get("frames")
    shown = (
        f"{frames['recent_fps']:.1f} a second, 99 % in {frames['recent_p99_ms']:.1f} ms"
        if frames and frames["source"]
        else "not known"
    )
    return [
        f"input  {escape(str(input_.get('path', 'none')))}{why}  {said}",
        f"queue  {queue}   loop {late:.1f} ms late (most {latest:.1f})",
        _placement(now, before, seconds),
        _bars("frames", shown, history.fps, width),
        _bars("waits", "of the game, 99 %", history.waits, width),
    ]


def _placement(now: SnapshotBody, before: SnapshotBody, seconds: float) -> str:
    """The line on the placement of the game's threads, over the time between two snapshots."""
    facts = now.get("placement")
    if facts is None:
        return "place  -"
    stats, old = now.get("cpu_stats") or {}, before.get("cpu_stats") or {}

    def rate(name: str) -> float:
        """CPUs, or tasks a second."""
        gained = stats.get(name, [0])[0] - old.get(name, [0])[0]
        return max(gained, 0) / seconds / (1e9 if name.endswith("_ns") else 1)

    home, away = rate("game_home_ns"), rate("game_away_ns")
    share = f"{home / (home + away):.1%} of the game" if home + away else "the game"
    where = f"{share} on CPUs {facts['home']}" if facts["home"] else "the game on any CPU"
    return (
        f"place  {escape(where)} ({_safe(facts['why'], 60)})"
        f"   shield {rate('shield_ns'):.2f} CPUs free, {rate('shield_kicks'):.0f} kicks/s"
    )


def _classes(rows: Sequence[ClassRow], view: View, width: int) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    marks = {view.sort: "^" if view.reverse else "v"}
    heads = (  # text, name of the order, whether it is there on narrow screens
        ("CLASS", "class", True),
        ("TASKS", "tasks", False),
        ("CPU%", "cpu", True),
        ("RUNS/s", "", False),
        ("WAIT p50", "", False),
        ("p99", "p99", True),
        ("max", "", True),
        ("KICKS/s", "", False),
    )
    shown = [always or width >= _NARROW for _text, _name, always in heads]
    for text, name, _always in compress(heads, shown):
        justify: Literal["left", "right"] = "left" if name == "class" else "right"
        table.add_column(text + marks.get(name, ""), justify=justify, no_wrap=True)
    for row in rows:
        cells = (
            escape(row.name),
            "-" if row.tasks is None else str(row.tasks),
            f"{row.cpu:.1f}",
            f"{row.runs:.0f}",
            *(_below(us, row.max_us) for us in (row.p50_us, row.p99_us)),
            time_text(row.max_us) if row.max_us else "-",
            f"{row.kicks:.0f}",
        )
        table.add_row(*compress(cells, shown))
    return table


def _costs_and_exits(now: SnapshotBody, before: SnapshotBody) -> list[str]:
    spent = costs(now, before)
    text = "  ".join(f"{escape(name)} {time_text(ns / 1e3)}" for name, ns, _ in spent[:6])
    by_kind, restarts = {}, 0
    if counters := now.get("counters"):
        by_kind, restarts = counters["exits"], counters["restarts"]
    exits = ", ".join(f"{kind} {n}" for kind, n in sorted(by_kind.items()))
    last = now.get("last_exit")
    said = f"  last: {_safe(last.get('reason') or last.get('name') or '-', 50)}" if last else ""
    return [
        f"cost   {text or '- (sysctl kernel.bpf_stats_enabled=1 counts it)'}",
        f"exits  {escape(exits) or 'none'}  restarts {restarts}"
        f"  failures {now.get('failures', 0)}{said}",
    ]


def _games(now: SnapshotBody, view: View, threads: Sequence[tuple[str, int, float]]) -> list[str]:
    games = view.order(now.get("games") or ())
    if not games:
        return ["games  none"]
    lines = [f"games  {len(games)}"]
    for number, game in enumerate(games):
        mark = ">" if number == view.chosen else " "
        pin = "[bold]pinned[/] " if game["pid"] == view.pinned else ""
        count = game.get("processes", "-")
        lines.append(
            f"{mark} {game['pid']:>7} {_safe(game.get('comm', '-'), 16)}  {pin}"
            f"{count} {'process' if count == 1 else 'processes'}  {_safe(game.get('reason', ''), 60)}"
        )
        if game["pid"] == view.pinned:
            lines += [f"    {tid:>7} {escape(name):<16} {cpu:5.1f} %" for name, tid, cpu in threads]
    return lines


def _safe(text: object, limit: int) -> str:
    return escape(printable(str(text), limit))


def _below(bound_us: float, longest_us: float) -> str:
    """Format a wait of which only the end of its bucket is known, or the longest one where that is shorter."""
    if not bound_us:
        return "-"
    return time_text(longest_us) if 0 < longest_us <= bound_us else f"<{time_text(bound_us)}"


def _wait(ns: int) -> str:
    return time_text(ns / 1e3) if ns else "0"

# SPDX-License-Identifier: GPL-2.0-or-later
"""Set-ups as `/proc` and the files beside it show them, laid out in a root file system of their own.

A case is a text of lines `key: value` (title, kind, source, expect, arguable), blocks `desktop:`, `file:` and
`exec: PATH` with lines after `|`, `link: A -> B`, and after `tree:` one line a process: `PID EXE ARGV… @attributes`,
indentation is parenthood. Attributes: comm, cg, env:KEY, drm (holds a render node), uid, script (executed as a script),
began (earlier execs, a>b), flatpak. expect: game=PID|none, main=PID, name=REGEX, appid=N, games=N, not=PIDs,
also=PIDs, critical=PIDs. arguable: late (no event tells), cold-miss (only its exec told).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scx_gamer.games import desktop, lists
from scx_gamer.games.exec_filter import comm_of, names_to_tell
from scx_gamer.games.explain import explain
from scx_gamer.games.proc import Process, ProcFs
from scx_gamer.games.tracker import Tracker

_PROGRAMS = ("/bin/sh", "/usr/bin/env", "/usr/bin/bash", "/usr/bin/dash", "/usr/bin/python3")
_SESSION = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope"
_REPORT, _TREE = 1, 2


@dataclass
class One:
    """A process of a case."""

    pid: int
    ppid: int
    exe: str
    argv: list[str]
    said: dict[str, str]

    @property
    def executed(self) -> list[str]:
        """Paths that it executed, in their order."""
        before = [path for path in self.said.get("began", "").split(">") if path]
        if "script" in self.said:
            return [*before, next((w for w in self.argv[1:] if not w.startswith("-")), self.exe)]
        return [*before, self.exe]

    @property
    def comm(self) -> str:
        wine = self.argv[0] if self.argv[0].lower().endswith(".exe") else self.executed[-1]
        return self.said.get("comm", wine.replace("\\", "/").rsplit("/", 1)[-1][:15])


@dataclass
class Case:
    """A set-up, and what a player would say of it."""

    title: str = ""
    source: str = ""
    expect: dict[str, str] = field(default_factory=dict)
    arguable: str = ""
    files: dict[str, tuple[str, int]] = field(default_factory=dict)  # path → text, mode
    links: dict[str, str] = field(default_factory=dict)
    processes: list[One] = field(default_factory=list)

    def pids(self, key: str) -> list[int]:
        return [int(word) for word in self.expect.get(key, "").split(",") if word]


def parse(text: str) -> Case:
    case, lines, above = Case(), text.splitlines(), list[tuple[int, int]]()
    tree = lines.index("tree:")
    path = ""
    for line in lines[:tree]:
        if line.startswith("|"):
            before, mode = case.files[path]
            case.files[path] = before + line[1:].removeprefix(" ") + "\n", mode
            continue
        key, _, value = line.partition(": ")
        if key in ("desktop", "file", "exec"):
            path = value
            case.files[path] = "", 0o755 if key == "exec" else 0o644
        elif key == "link":
            name, _, target = value.partition(" -> ")
            case.links[name] = target
        elif key == "expect":
            case.expect = dict(word.split("=", 1) for word in value.split())
        elif key in ("title", "source", "arguable"):
            setattr(case, key, value)
    for line in lines[tree + 1 :]:
        indent, words = len(line) - len(line.lstrip()), shlex.split(line)
        if not words:
            continue
        said = dict(w[1:].partition("=")[::2] for w in words[2:] if w[0] == "@")
        argv = [w for w in words[2:] if w[0] != "@"] or [words[1]]
        while above and above[-1][0] >= indent:
            above.pop()
        one = One(int(words[0]), above[-1][1] if above else 1, words[1], argv, said)
        case.processes.append(one)
        above.append((indent, one.pid))
    return case


def put(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def lay_out(case: Case, root: Path) -> None:
    for name in _PROGRAMS:
        put(root, name, "", 0o755)
    for path, (text, mode) in case.files.items():
        put(root, path, text, mode)
    for name, target in case.links.items():
        link = root / name.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    init = One(1, 0, "/usr/lib/systemd/systemd", ["/sbin/init"], {"uid": "0", "cg": "/init.scope"})
    for one in (init, *case.processes):
        _lay_out_process(one, root)


def _lay_out_process(one: One, root: Path) -> None:
    folder = root / "proc" / str(one.pid)
    (folder / "fd").mkdir(parents=True)
    fields = f"{one.pid} ({one.comm}) S {one.ppid} 1 1 0 -1 4194560 0 0 0 0 5 3 0 0 20 0 1 0 {one.pid * 10} "
    (folder / "stat").write_text(fields + "0 " * 30)
    (folder / "cmdline").write_bytes("".join(f"{word}\0" for word in one.argv).encode())
    env = {"HOME": "/home/u"} | {k[4:]: v for k, v in one.said.items() if k.startswith("env:")}
    (folder / "environ").write_bytes("".join(f"{k}={v}\0" for k, v in env.items()).encode())
    (folder / "cgroup").write_text(f"0::{one.said.get('cg', _SESSION)}\n")
    (folder / "exe").symlink_to(one.exe)
    if not (root / one.exe.lstrip("/")).exists() and not one.exe.endswith(" (deleted)"):
        put(root, one.exe, "\x7fELF", 0o755)
    if "drm" in one.said:
        (folder / "fd/17").symlink_to("/dev/dri/renderD128")
    if "flatpak" in one.said:
        put(root, f"/box/{one.pid}/.flatpak-info", f"[Application]\nname={one.said['flatpak']}\n")
        (folder / "root").symlink_to(f"/box/{one.pid}")
        (folder / "mountinfo").write_text("1 1 0:1 / /.flatpak-info ro - tmpfs tmpfs rw\n")
    os.chown(folder, int(one.said.get("uid", 1000)), 0)


class Started(ProcFs):
    """The processes that have started so far."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = {1}

    def pids(self) -> Iterator[int]:
        return (pid for pid in super().pids() if pid in self.shown)

    def read(self, pid: int, known: Process | None = None) -> Process | None:
        return super().read(pid, known) if pid in self.shown else None


def found_at_once(case: Case, data: lists.DetectData) -> Tracker:
    """All processes run when the supervisor starts. To be called in the case's root, as the rest of this file."""
    track = Tracker(ProcFs(), data, desktop.desktop_games(desktop.folders())[0])
    track.reconcile(0.0)
    track.settle(1.0)
    return track


def found_by_events(case: Case, data: lists.DetectData) -> Tracker:
    """Each process is told of as the kernel's filter would."""
    proc = Started()
    entries, programs = desktop.desktop_games(desktop.folders())
    names = names_to_tell(data, sorted(programs), _REPORT, _TREE, 1 << 20).flags
    track = Tracker(proc, data, entries)
    track.reconcile(0.0)
    followed: dict[int, int] = {}
    now_s = 0.0
    for one in sorted(case.processes, key=lambda p: p.pid):
        now_s += 0.1
        proc.shown.add(one.pid)
        above = track.classes.get(one.ppid)
        inherits = above is not None and above.class_name != "CRITICAL"
        if followed.get(one.ppid, 0) & _TREE:
            followed[one.pid] = followed[one.ppid]
        if followed.get(one.pid) or inherits:
            track.fork_seen(one.ppid, one.pid, one.pid * 10)
        for path in one.executed:
            followed[one.pid] = followed.get(one.pid, 0) | names.get(
                comm_of(path.rsplit("/", 1)[-1]), 0
            )
            if followed[one.pid] or inherits:
                track.executed(one.pid, one.pid * 10, path)
                track.exec_seen(one.pid)
        track.update(now_s)
        for game in track.games:
            followed |= {pid: _REPORT | _TREE for pid, _ in game.members}
    track.ask_again()
    track.update(now_s + 1)
    track.settle(now_s + 2)
    track.update(now_s + 9)  # a store that drew before its helpers came was a game until then
    return track


def problems(case: Case, track: Tracker) -> list[str]:
    """List the differences between the answer and the case's expectation, and answers without a reason."""
    unsaid = [
        f"{one.pid} has no reason"
        for one in case.processes
        if (answer := explain(track, one.pid, 99.0))
        and not answer["evidence" if answer["game"] else "because"]
    ]
    if unsaid:
        return unsaid
    games = {g.main.pid: g for g in track.games}
    told = {pid: f"{g.decision.name} by {g.decision.rule}" for pid, g in games.items()}
    wanted = case.expect["game"]
    if wanted == "none":
        return [f"a game: {told}"] if games else []
    game = games.get(int(case.expect.get("main", wanted)))
    if game is None:
        return [f"the main process is none of {told}"]
    found = []
    if len(games) > int(case.expect.get("games", 1)):
        found.append(f"more games: {told}")
    if not re.search(case.expect.get("name", ""), game.decision.name):
        found.append(f"called {game.decision.name}")
    if case.expect.get("appid", game.decision.app_id) != game.decision.app_id:
        found.append(f"AppID {game.decision.app_id}")
    classes = {pid: a.class_name for pid, a in track.classes.items()}
    must = (game.main.pid, *case.pids("also"))
    found += [f"{pid} is not GAME" for pid in must if classes.get(pid) != "GAME"]
    found += [f"{pid} is GAME" for pid in case.pids("not") if classes.get(pid) == "GAME"]
    found += [
        f"{pid} is not CRITICAL" for pid in case.pids("critical") if classes.get(pid) != "CRITICAL"
    ]
    return found

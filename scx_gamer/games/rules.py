# SPDX-License-Identifier: GPL-2.0-only
"""The rules: one small function each, process tree in, evidence out. First match wins.

A rule answers with the root of the game's tree, not with the game's own process: launchers hand over, and the main
process is chosen inside the tree afterwards (`main_process`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from scx_gamer.games.lists import DetectData, matches
from scx_gamer.games.proc import Process, Tree

U64_MAX = (1 << 64) - 1
MAX_NAME, MAX_EVIDENCE = 128, 256  # characters
FLATPAK = re.compile(r"/app-flatpak-([A-Za-z0-9_.-]+)-[0-9]+\.scope")


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a process is part of a game. `root` is the process whose descendants form the game's tree."""

    rule: str
    root: Process
    app_id: str
    name: str
    evidence: tuple[str, ...]

    def __post_init__(self) -> None:
        """Bound the text, all of which users choose: each status and signal repeats it for every game."""
        object.__setattr__(self, "app_id", self.app_id[:MAX_NAME])
        object.__setattr__(self, "name", self.name[:MAX_NAME])
        object.__setattr__(self, "evidence", tuple(e[:MAX_EVIDENCE] for e in self.evidence))


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may look at."""

    tree: Tree
    data: DetectData
    explicit: Mapping[int, str]  # pid → reason, from `games add` and `exec`
    desktop_games: Mapping[str, str]  # executable path → name of the desktop entry
    hints: Mapping[int, str]  # pid → source, from GameMode
    profile: Callable[[Process], str | None] = lambda _process: None  # why a profile claims it
    executed: Mapping[int, str] = field(default_factory=dict)  # pid → the program it began as
    ignored: frozenset[tuple[int, int]] = frozenset()  # roots that `games remove` named


Rule = Callable[[Process, Context], Decision | None]


def _lineage(process: Process, tree: Tree) -> Iterator[Process]:
    yield process
    yield from tree.ancestors(process)


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def explicit(process: Process, ctx: Context) -> Decision | None:
    for p in _lineage(process, ctx.tree):
        if p.pid in ctx.explicit:
            return Decision("explicit", p, "", p.program, (ctx.explicit[p.pid],))
    return None


def profile(process: Process, ctx: Context) -> Decision | None:
    for p in _lineage(process, ctx.tree):
        why = ctx.profile(p)
        if why is not None:
            return Decision("profile", p, "", p.program, (why,))
    return None


def reaper_app_id(process: Process) -> int | None:
    """AppId of a Steam reaper's command line; shortcuts use all 64 bits."""
    if process.comm != "reaper" or "SteamLaunch" not in process.argv:
        return None
    for argument in process.argv:
        if argument == "--":
            break
        key, sep, value = argument.partition("=")
        if (
            key == "AppId"
            and sep
            and value.isascii()
            and value.isdecimal()
            and 0 < int(value) <= U64_MAX
        ):
            return int(value)
    return None


def steam(process: Process, ctx: Context) -> Decision | None:
    for p in _lineage(process, ctx.tree):
        app_id = reaper_app_id(p)
        if app_id is None:
            continue
        if app_id in ctx.data.steam_no_game_appids:
            return None
        evidence = [f"pid {p.pid} is Steam's reaper with AppId={app_id}"]
        if any(
            process.env.get(k) == str(app_id)
            for k in ("SteamAppId", "SteamGameId", "STEAM_COMPAT_APP_ID")
        ):
            evidence.append("its environment carries the same AppId")
        return Decision("steam", p, str(app_id), f"AppId {app_id}", tuple(evidence))
    return None


def proton_command(process: Process) -> str | None:
    """The program that `proton run` was told to start, '' when it names none; None if this is no Proton."""
    argv = process.argv
    for at, argument in enumerate(argv[:-1]):
        if _name(argument) == "proton" and argv[at + 1] in ("waitforexitandrun", "run"):
            return next((a for a in argv[at + 2 :] if a.lower().endswith(".exe")), "")
    return None


def proton(process: Process, ctx: Context) -> Decision | None:
    found: Process | None = None
    why = ""
    for p in _lineage(process, ctx.tree):
        if proton_command(p) is not None:
            found, why = p, f"pid {p.pid} runs proton {_name(proton_command(p) or '')}".rstrip()
        elif p.program in ("umu-run", "umu_run.py") or any(
            _name(a) == "umu-run" for a in p.argv[:2]
        ):
            found, why = p, f"pid {p.pid} is umu-run"
    if found is None:
        return None
    game_id = process.env.get("GAMEID") or process.env.get("UMU_ID") or ""
    evidence = (why, f"environment GAMEID={game_id}") if game_id else (why,)
    return Decision(
        "proton", found, game_id, game_id or _name(proton_command(found) or found.program), evidence
    )


def wine_program(process: Process, data: DetectData) -> str | None:
    """The Windows program this process runs: the first `.exe` argument that is no plumbing."""
    is_loader = matches(process.program, data.wine_loaders)
    is_windows = bool(process.argv) and process.argv[0].lower().endswith(".exe")
    if not (is_loader or is_windows):
        return None
    for argument in process.argv:
        name = _name(argument).lower()
        if name.endswith(".exe") and data.never_the_game(name) is None:
            return name
    return None


def names_of(process: Process) -> tuple[str, ...]:
    """What a process may be listed as: its executable, and the Windows program that Wine runs in it."""
    windows = next((_name(a).lower() for a in process.argv if a.lower().endswith(".exe")), None)
    return (process.program,) if windows is None else (windows, process.program)


def listed(process: Process, patterns: tuple[str, ...]) -> bool:
    """Whether a list names this process; the Windows program counts before the loader that runs it."""
    return matches(names_of(process)[0], patterns)


def wine(process: Process, ctx: Context) -> Decision | None:
    program = wine_program(process, ctx.data)
    if program is None:
        return None
    return Decision("wine", process, "", program, (f"pid {process.pid} runs {program} in Wine",))


def gamemode(process: Process, ctx: Context) -> Decision | None:
    for p in _lineage(process, ctx.tree):
        if p.pid in ctx.hints:
            return Decision(
                "gamemode", p, "", p.program, (f"pid {p.pid} was registered by {ctx.hints[p.pid]}",)
            )
    return None


def gamescope(process: Process, ctx: Context) -> Decision | None:
    if ctx.data.never_the_game(process.program) is not None:
        return None
    for p in ctx.tree.ancestors(process):
        if p.program in ("gamescope", "gamescope-wl"):
            if any(process.env.get(k) == "769" for k in ("SteamAppId", "SteamGameId")):
                return None  # Steam's own interface inside gamescope
            return Decision(
                "gamescope", process, "", process.program, (f"child of gamescope, pid {p.pid}",)
            )
    return None


def launcher(process: Process, ctx: Context) -> Decision | None:
    program = wine_program(process, ctx.data)
    for p in ctx.tree.ancestors(process):
        names = {p.program, *(_name(a) for a in p.argv[:2])}
        found = {name for name in names if matches(name, ctx.data.launchers)}
        if not found:
            continue
        wrapped = "lutris-wrapper" in found or found & {"legendary", "gogdl", "nile"}
        if program is None and not (wrapped and ctx.data.never_the_game(process.program) is None):
            continue
        via = f"started by {sorted(found)[0]}, pid {p.pid}"
        return Decision("launcher", process, "", program or process.program, (via,))
    return None


def desktop(process: Process, ctx: Context) -> Decision | None:
    flatpak = FLATPAK.search(process.cgroup)
    if (
        flatpak is not None
        and (entry := ctx.desktop_games.get(f"flatpak:{flatpak[1]}")) is not None
        and ctx.data.never_the_game(process.program) is None
    ):
        via = f"the Flatpak {flatpak[1]} is {entry}, a Game"
        return Decision("desktop-entry", process, flatpak[1], entry, (via,))
    began = ctx.executed.get(process.pid, "")
    if (
        began != process.exe
        and began in ctx.desktop_games
        and ctx.data.never_the_game(process.program) is None
    ):
        entry = ctx.desktop_games[began]
        via = f"{began}, which it began as, is the program of {entry}, a Game"
        return Decision("desktop-entry", process, entry, entry, (via,))
    # The script counts for an interpreter alone: an editor that shows it is no game.
    interprets = ctx.data.never_the_game(process.program) == "wrappers"
    for path in (process.exe, *(process.argv[1:2] if interprets else ())):
        if path in ctx.desktop_games:
            entry = ctx.desktop_games[path]
            return Decision(
                "desktop-entry",
                process,
                entry,
                entry,
                (f"{path} is the program of {entry}, a Game",),
            )
    return None


RULES: tuple[Rule, ...] = (
    explicit,
    profile,
    steam,
    proton,
    gamemode,
    launcher,
    wine,
    gamescope,
    desktop,
)

# Programs below which everything is looked at: what they start may be a game whatever it is called.
TREE_ROOTS = ("reaper", "proton", "umu-run", "umu_run.py", "gamescope", "gamescope-wl")


def decide(process: Process, ctx: Context) -> Decision | None:
    """First rule that matches, or None. Kernel threads and background programs are never a game."""
    if process.kthread or matches(process.program, ctx.data.background):
        return None
    for rule in RULES:
        decision = rule(process, ctx)
        if decision is not None:
            return None if decision.root.identity in ctx.ignored else decision
    return None


def why_not(process: Process, ctx: Context) -> str:
    """One clause for `games explain` of something that is no game."""
    if any(p.identity in ctx.ignored for p in _lineage(process, ctx.tree)):
        return "somebody took it out with `games remove`"
    if process.kthread:
        return "it is a kernel thread"
    role = ctx.data.never_the_game(process.program)
    if role is not None:
        return f"{process.program} is listed under {role}"
    for p in _lineage(process, ctx.tree):
        app_id = reaper_app_id(p)
        if app_id is not None and app_id in ctx.data.steam_no_game_appids:
            return f"AppId {app_id} is one of Steam's own"
    return "no rule matched: no Steam reaper, Proton, Wine, launcher, gamescope or Game desktop entry in its lineage"


def main_process(
    root: Process,
    ctx: Context,
    render_node: Callable[[int], bool],
    cpu_used: Callable[[Process], int],
) -> Process:
    """The game itself inside its tree.

    In this order: the `.exe` that Proton was told to run, whoever uses a render node, most CPU since the last look,
    newest. `root` when nothing else is left.
    """
    candidates = [
        p
        for p in (root, *ctx.tree.descendants(root.pid))
        if not p.kthread
        and (ctx.data.never_the_game(p.program) is None or wine_program(p, ctx.data) is not None)
    ]
    if not candidates:
        return root
    wanted = {
        _name(command).lower()
        for p in (root, *ctx.tree.descendants(root.pid))
        if (command := proton_command(p))
    }
    named = [p for p in candidates if wanted & {p.program, wine_program(p, ctx.data) or p.program}]
    drawing = [p for p in named or candidates if render_node(p.pid)]
    pool = drawing or named or candidates
    return max(pool, key=lambda p: (cpu_used(p), p.start_ticks, p.pid))

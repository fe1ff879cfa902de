# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules: what a process inherits from its parent and what its own facts add, in the order of evidence.

A lineage is read once, downwards: `enter` makes the state of a process out of its parent's and of its own facts, so a
chain of parents costs as much as its length, whoever built it. A claim names the root of a game's tree; whether the
tree holds a game is decided by `keeps`: launchers, wrappers, plumbing and helpers alone are none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from scx_gamer.games import records
from scx_gamer.games.commandline import WORKING, Words, counting, file_name, live_path, script_at
from scx_gamer.games.desktop import SEARCH, Entries, Entry, after_wrapper, command_of_words
from scx_gamer.games.lists import DetectData, RoleTable, matches
from scx_gamer.games.proc import Process
from scx_gamer.games.userfiles import Mounts
from scx_gamer.system.text import printable

U64_MAX = (1 << 64) - 1
MAX_TEXT = 128  # of a name, an AppID, a piece of evidence
# The order of evidence: what the user said, a profile, a launcher's AppID, facts, and names last.
RANKS = (
    "explicit",
    "profile",
    "steam",
    "proton",
    "gamemode",
    "launcher",
    "java",
    "desktop-entry",
    "record",
    "gamescope",
    "wine",
)
_RANK = {rule: rank for rank, rule in enumerate(RANKS)}

EXEC_SOURCE = "exec"  # of a hint: `scx-gamer exec` of a user without privileges
_SCOPE = re.compile(r"/app-steam-app(\d{1,20})-[^/]*\.scope")
_FLATPAK = re.compile(r"/app-flatpak-([^/]+)-[0-9]+\.scope")
_SNAP = re.compile(r"/snap\.([^/.]+)\.([^/]+?)(?:-[0-9a-f-]{36})?\.(?:scope|service)")
_CONTAINER = re.compile(
    r"/(libpod|docker|lxc|crio|nspawn|machine|incus|toolbox)[-./]|/container(/|$)|/machine\.slice"
)
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_SYSTEM = (
    "/usr/",
    "/bin/",
    "/sbin/",
    "/lib",
    "/nix/store/",
    "/gnu/store/",
    "/app/",
    "/run/current-system/",
    "/snap/core",
)
_MOUNTED = "/tmp/.mount_"  # AppImages
_ROOTS = (
    "/opt/",
    "/snap/",
    _MOUNTED,
    "/run/current-system/",
)  # what lies there is no player's own
_SYSTEM_GAMES = ("/usr/games/", "/usr/local/games/", "/usr/lib/games/", "/usr/share/games/")
_RUNTIMES = re.compile(r"^(SteamLinuxRuntime.*|Proton.*|Steamworks Shared)$")
_PROTON_VERBS = ("waitforexitandrun", "run", "runinprefix")
_WORDS = 64  # of a command that is looked at
_FOLDERS = 3  # above a program that may be called as its package
_ENDING = re.compile(r"\.(jar|love|pyw?|sh|bin|real|x86_64|x86)$")
_APP_DIGITS = 10  # of an AppID of the store; a shortcut's has 64 bits
_SAYS_NOTHING = re.compile(r"^(umu-(default|0+)|0|none|default)$")


@dataclass(frozen=True, slots=True)
class Decision:
    """The reason why a process is part of a game. `root` is the process whose descendants form the game's tree."""

    rule: str
    root: Process
    app_id: str
    name: str  # empty: the name of its main process
    evidence: tuple[str, ...]
    folder: str = ""  # where the game is installed
    target: str = ""  # file name of the program that a launcher was told to start, lower case

    @property
    def rank(self) -> int:
        return _RANK[self.rule]


@dataclass(frozen=True, slots=True)
class State:
    """The part of an evaluation that children inherit."""

    claim: Decision | None = None
    launcher: str = ""  # the front end above
    launcher_folder: str = ""
    title: str = ""  # the game's name as a launcher gives it
    steam: str = ""  # Steam's folder, below its client and outside a reaper
    denied: str = ""  # why nothing below is a game
    aside: str = ""  # below what was opened from a game
    gamescope: str = ""  # its primary command, below gamescope itself
    proton: bool = False


NEUTRAL = State()

NO_WORDS = Words()


@dataclass(slots=True)
class Facts:
    """One process as the rules see it: its words, its list, and what has been found out about it so far."""

    process: Process
    words: Words
    role: str  # the list that names it, empty for none
    draws: bool = False  # holds a render node
    # Its window is a browser engine's, or it has started a game of its own kind.
    front: bool = False
    web_game: bool = False  # such a front end, whose entry or record says that it is a game
    web: bool = False  # a browser engine's helpers of whatever folder are its children
    named: bool = False  # by the user or a profile
    parent: Words = NO_WORDS


@dataclass(slots=True)
class Context:
    """Sources that the rules may ask."""

    data: DetectData
    roles: RoleTable
    entries: Entries
    mounts: Mounts
    types: records.SteamTypes
    explicit: Mapping[int, tuple[int, str]]  # pid → (start, reason), from `games add` and `exec`
    hints: Mapping[int, tuple[int, str]]  # pid → (start, source), from GameMode
    began: Mapping[int, tuple[int, str]]  # pid → (start, program of an entry that it began as)
    ignored: set[tuple[int, int]] = field(default_factory=set)  # roots that `games remove` named
    profile: Callable[[Process], str | None] = lambda _process: None  # why a profile claims it
    # (uid, AppID) → its claim.
    reapers: dict[tuple[int, str], Decision] = field(default_factory=dict)
    draws: Callable[[Facts], bool] = lambda facts: facts.draws  # asks for the render node now
    settled: Callable[[Facts], bool] = lambda _facts: True  # it is old enough to show what it is
    prefix_game: Callable[[Process], Decision | None] = lambda _process: None


def shown(text: str) -> str:
    return printable(text, MAX_TEXT)


def marked(table: Mapping[int, tuple[int, str]], process: Process) -> str:
    """The mark of this very process; a pid is used again."""
    found = table.get(process.pid)
    return found[1] if found is not None and found[0] == process.start_ticks else ""


# -- facts -----------------------------------------------------------------------------------------


def is_system(path: str) -> bool:
    """Return True if a program lies where the distribution, not a player, puts things."""
    return path.startswith(_SYSTEM) and not path.startswith(_SYSTEM_GAMES)


def is_players(path: str) -> bool:
    """Return True if a program lies where players put theirs."""
    return path != "" and not is_system(path) and not path.startswith(_ROOTS)


def is_elsewhere(windows: str) -> bool:
    """Whether a Windows program lies outside of Windows' own folder: called as a part of Wine is, it is another."""
    path = windows.lower().replace("/", "\\")
    return "\\" in path and "\\windows\\" not in path


def reaper_app_id(process: Process, words: Words) -> int | None:
    """AppId of a Steam reaper's command line; shortcuts use all 64 bits."""
    if words.name != "reaper" or "SteamLaunch" not in process.argv[:8]:
        return None
    for argument in process.argv[:16]:
        if argument == "--":
            break
        key, sep, value = argument.partition("=")
        if key == "AppId" and sep and len(value) <= 20 and value.isascii() and value.isdecimal():
            return int(value) if 0 < int(value) <= U64_MAX else None
    return None


def env_app_id(process: Process) -> str:
    """The AppID that Steam has put into the environment; empty for none."""
    if not process.env:
        return ""
    for key in ("SteamAppId", "SteamGameId", "STEAM_COMPAT_APP_ID"):
        value = process.env.get(key, "")
        if value.isascii() and value.isdecimal() and value.strip("0") and len(value) <= 20:
            return str(int(value))
    return ""


def proton_target(process: Process, words: Words) -> str | None:
    """The program that Proton was told to start, '' when it names none; None if this is no Proton."""
    if words.name != "proton":
        return None
    argv = process.argv
    for at, argument in enumerate(argv[:8]):
        if argument in _PROTON_VERBS and file_name(argv[at - 1]).lower() == "proton":
            return next((a for a in argv[at + 1 : at + 16] if a.lower().endswith(".exe")), "")
    return None


def umu_target(process: Process, words: Words) -> str | None:
    """The program that umu was told to start, '' when it names none; None if this is no umu."""
    if words.name not in ("umu-run", "umu_run.py", "umu_run"):
        return None
    return next((a for a in process.argv[1:16] if a.lower().endswith(".exe")), "")


def umu_id(process: Process) -> str:
    """The game's id in umu's database; empty for the one that stands for none."""
    game_id = process.env.get("GAMEID") or process.env.get("UMU_ID") or ""
    return "" if _SAYS_NOTHING.match(game_id) else shown(game_id)


def flatpak_id(process: Process) -> str:
    """The application whose sandbox this is, from the scope's name (systemd escapes it) or the sandbox's own record."""
    found = _FLATPAK.search(process.cgroup)
    if found is None:
        return process.flatpak
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), found[1])


def snap_app(process: Process) -> str:
    """NAME.APP of the snap that a process belongs to; APP is empty if only the folder says so."""
    found = _SNAP.search(_ESCAPE.sub(lambda m: chr(int(m[1], 16)), process.cgroup))
    if found is not None:
        return f"{found[1]}.{found[2]}"
    if process.exe.startswith("/snap/"):
        name = process.exe.split("/", 3)[2]
        return f"{name}." if not name.startswith(("core", "snapd")) else ""
    return ""


def install_folder(words: tuple[str, ...] | list[str]) -> str:
    """Return the game's folder by a reaper's command: below steamapps/common, else the folder of what it starts."""
    after = list(words[words.index("--") + 1 :]) if "--" in words else []
    for word in reversed(after[:64]):
        before, mark, below = word.partition("/steamapps/common/")
        name = below.partition("/")[0]
        if mark and name and not _RUNTIMES.match(name):
            return f"{before}{mark}{name}"
    target = next((w for w in after if w.lower().endswith(".exe")), after[0] if after else "")
    folder = target.rpartition("/")[0]
    if (
        "/steamapps/common/" in target
        or is_system(target)
        or folder.count("/") < 1
        or folder in ("/home", "/tmp")
    ):
        return ""
    return folder


def is_own(facts: Facts, claim: Decision) -> bool:
    """Return True if a program lies in the game's own folder, as Linux or as Wine names it."""
    folder = claim.folder
    if not folder or (facts.role == "launchers" and len(claim.app_id) > _APP_DIGITS):
        return False  # a shortcut to a launcher has that launcher's folder
    windows = facts.words.windows
    if windows:
        path = windows.replace("\\", "/").lower()
        path = path[2:] if path[1:2] == ":" else path
        name = folder.partition("/steamapps/common/")[2].lower()
        return path.startswith(f"{folder.lower()}/") or (bool(name) and f"/common/{name}/" in path)
    return live_path(facts.process.exe).startswith(f"{folder}/") or facts.words.script.startswith(
        f"{folder}/"
    )


def is_tool(facts: Facts, ctx: Context) -> bool:
    """Whether a program is opened from a game and no part of it: a list, or an entry without Category Game, says so."""
    if facts.words.interpreter and not facts.words.script:
        return False
    return facts.role == "tools" or is_other(facts, ctx)


def is_other(facts: Facts, ctx: Context) -> bool:
    """Return True if an entry without Category Game, and none with it, names the program, its script or its snap."""
    entries = ctx.entries
    paths = live_path(facts.process.exe), facts.words.script
    if any(path in entries.others and path not in entries.programs for path in paths):
        return entries.with_argument_of(facts.process, facts.words) is None
    name, _, part = snap_app(facts.process).partition(".")
    entry = entries.sandboxed.get(f"snap:{name}.{part or name}") if name else None
    return entry is not None and not entry.game


def is_in_other_sandbox(facts: Facts, claim: Decision, ctx: Context) -> bool:
    """Whether a program is of a Flatpak or AppImage that the game is not in, and whose entry has no Category Game."""
    process, entries, root = facts.process, ctx.entries, claim.root
    if process.exe.startswith("/app/") and (app := flatpak_id(process)) != flatpak_id(root):
        entry = entries.sandboxed.get(f"flatpak:{app}")
        return entry is not None and not entry.game
    image = process.env.get("APPIMAGE", "") if process.exe.startswith(_MOUNTED) else ""
    return image in entries.others and image != root.env.get("APPIMAGE")


def is_front(facts: Facts) -> bool:
    """Return True if a program is a store or another front end by what it starts."""
    return facts.front and not facts.web_game


def is_service(facts: Facts) -> bool:
    """A Windows service: services.exe started it."""
    return facts.parent.name == "services.exe"


def java_evidence(process: Process, words: Words, data: DetectData) -> str:
    """The fact that makes a Java process a game: its main class, or a game's jar in its class path."""
    if words.interpreter != "java":
        return ""
    if words.script.lower() in data.java_games:
        return f"its main class is {shown(words.script)}"
    argv = process.argv
    for at, word in enumerate(argv[:-1]):
        if word in ("-cp", "-classpath", "--class-path", "-p", "--module-path"):
            for jar in argv[at + 1].split(":")[:4096]:
                name = file_name(jar).lower()
                if name.endswith(".jar") and matches(name, data.java_jars):
                    return f"{shown(file_name(jar))} is in its class path"
    return ""


def name_of(process: Process, words: Words, mounts: Mounts) -> str:
    """A game's name by its own process: the record beside it, else its program without `.exe`, or its script."""
    path = (
        records.path_of(words.windows, process.env.get("WINEPREFIX", ""))
        if words.windows
        else live_path(process.exe)
    )
    record = records.of_program(path, mounts) if path and not is_system(path) else None
    if record is not None and record.name:
        return record.name
    if words.interpreter == "java":
        if any("minecraft" in word.lower() for word in (words.script, *process.argv[:256])):
            return "Minecraft"
        return shown(
            words.script.rpartition(".")[2] if "/" not in words.script else file_name(words.script)
        )
    name = file_name(words.windows or words.script or live_path(process.exe)) or words.name
    return shown(name[:-4] if name.lower().endswith(".exe") else name)


def profile_view(process: Process, words: Words) -> Process | None:
    """The process with the words that count first, for profiles; None for what cannot be a game by its words.

    What a program of the system was told is not what it is: `grep net.minecraft.client.main.Main`.
    """
    argv = process.argv
    if words.interpreter == "java":
        skip = {
            at + 1
            for at, w in enumerate(argv)
            if w in ("-cp", "-classpath", "--class-path", "-p", "--module-path")
        }
        end = script_at("java", argv)  # what follows is told to the program, and only mentioned
        rest = tuple(w for at, w in enumerate(argv[:end]) if at and at not in skip)
        return replace(process, argv=(*counting(words, argv), *rest))
    if words.interpreter == "shell" and not words.script:
        return None
    if is_system(process.exe) and not words.windows:
        return replace(process, argv=counting(words, argv))
    return process


# -- one process after its parent --------------------------------------------------------------------


def enter(parent: State, facts: Facts, ctx: Context) -> State:
    """The state of a process whose parent's is `parent`."""
    process = facts.process
    if process.kthread or facts.role == "background":
        return NEUTRAL
    claim = parent.claim
    if claim is not None and claim.root.identity in ctx.ignored:
        claim = None
    state = parent if claim is parent.claim else replace(parent, claim=None)
    if process.identity in ctx.ignored:
        return replace(NEUTRAL, denied="`games remove` took it out")
    said = _said(facts, ctx)
    facts.named = said is not None
    if said is not None and said.rule == "explicit":
        return (
            state if claim is not None and claim.rank <= said.rank else replace(NEUTRAL, claim=said)
        )
    state = _steam(state, facts, ctx)
    if said is not None:
        return _named_by_profile(state, said)
    if facts.role == "installers" and (state.claim is None or state.claim.rank > _RANK["gamemode"]):
        return replace(NEUTRAL, denied=f"{facts.words.name} above it sets up a prefix")
    if state.denied:
        return state
    for rule in (_aside, _gamescope, _launchers, _proton, _gamemode, _native, _wine):
        state = rule(state, facts, ctx)
    return state


def _named_by_profile(state: State, said: Decision) -> State:
    """A profile names a game that no list takes away; below a reaper it is Steam's, which knows its AppID and name."""
    above = state.claim
    if above is not None and above.rank <= _RANK["steam"]:
        return replace(state, aside="") if state.aside else state
    return replace(NEUTRAL, claim=said)


def _better(state: State, claim: Decision) -> State:
    """A claim counts if it is better evidence than the one above; it settles what was open."""
    above = state.claim
    if above is not None and above.rank <= claim.rank:
        return state
    return replace(state, claim=claim, aside="", gamescope="")


def _said(facts: Facts, ctx: Context) -> Decision | None:
    """Return the claim of the user's word, or of a profile."""
    process = facts.process
    reason = marked(ctx.explicit, process)
    if reason:
        return Decision("explicit", process, "", "", (shown(reason),), "", facts.words.name)
    if facts.role == "wine_plumbing":
        return None
    view = profile_view(process, facts.words)
    why = ctx.profile(view) if view is not None else None
    return (
        Decision("profile", process, "", "", (shown(why),), "", facts.words.name) if why else None
    )


def _steam(state: State, facts: Facts, ctx: Context) -> State:
    process = facts.process
    if state.claim is not None and state.claim.rank <= _RANK["steam"]:
        return state
    number = reaper_app_id(process, facts.words)
    if number is not None:
        return _reaper(state, facts, number, ctx)
    env = env_app_id(process)
    if env and not is_tool(facts, ctx) and facts.role != "launchers" and not state.aside:
        scope = _SCOPE.search(process.cgroup)
        if scope is not None and scope[1] == env:
            evidence = (
                f"environment SteamAppId={env}",
                f"scope app-steam-app{env} of the same AppID",
            )
            return _app(state, process, int(env), evidence, "", ctx)
        if (known := ctx.reapers.get((process.uid, env))) is not None and known.rule == "steam":
            return replace(NEUTRAL, claim=known, title=state.title)
    return state


def _reaper(state: State, facts: Facts, number: int, ctx: Context) -> State:
    process = facts.process
    evidence = [f"pid {process.pid} is Steam's reaper with AppId={number}"]
    if env_app_id(process) == str(number):
        evidence.append("its environment carries the same AppID")
    steam = live_path(process.exe).rpartition("/")[0].rpartition("/")[0] or state.steam
    return _app(state, process, number, tuple(evidence), steam, ctx)


def _app(
    state: State, process: Process, number: int, evidence: tuple[str, ...], steam: str, ctx: Context
) -> State:
    if number in ctx.data.steam_no_game_appids:
        return replace(NEUTRAL, denied=f"AppID {number} is listed as no game")
    kind = ctx.types.is_software(steam, number)
    if kind:
        return replace(
            NEUTRAL, denied=f"Steam's record says that AppID {number} is of type {shown(kind)}"
        )
    folder = install_folder(process.argv)
    if number >= 1 << 32:
        name = records.shortcut_name(steam, number >> 32, ctx.mounts)
        name = name or file_name(next((a for a in process.argv if a.lower().endswith(".exe")), ""))
    else:
        name = records.steam_name(folder, steam, number, ctx.mounts) or file_name(folder)
    claim = Decision("steam", process, str(number), shown(name), evidence, folder)
    return replace(NEUTRAL, claim=claim)


def _aside(state: State, facts: Facts, ctx: Context) -> State:
    """Leave out programs that were opened from a game; the game's own program below one counts again."""
    claim = state.claim
    if claim is None or claim.root.identity == facts.process.identity:
        return state
    if is_own(facts, claim):
        return replace(state, aside="") if state.aside else state
    front = facts.front or facts.web  # of a store: what lies elsewhere and is one is not the game
    other = is_tool(facts, ctx) or is_in_other_sandbox(facts, claim, ctx)
    if other or (front and claim.rule == "steam" and claim.folder):
        return replace(
            state, aside=f"{facts.words.name} was opened from {claim.name or claim.rule}"
        )
    if state.aside and not facts.role and facts.draws and not is_system(facts.process.exe):
        return replace(state, aside="")
    return state


def _gamescope(state: State, facts: Facts, ctx: Context) -> State:
    name = facts.words.program
    if name in ("gamescope", "gamescope-wl"):
        primary = _primary(facts.process.argv)
        if state.claim is not None or not primary:
            return state
        if primary in ctx.data.sessions or primary in ctx.entries.sessions:
            return state
        return replace(state, gamescope=primary)
    if not state.gamescope:
        return state
    if name == "gamescopereaper":
        ours = _primary(facts.process.argv) == state.gamescope
        return state if ours else replace(state, gamescope="")
    primary = state.gamescope
    state = replace(state, gamescope="")
    if (
        state.claim is not None
        or facts.role in ("tools", "launchers", "critical")
        or is_tool(facts, ctx)
    ):
        return state
    if facts.words.name in ctx.data.sessions:
        return state
    evidence = (f"gamescope above it was told to run {shown(primary)}",)
    return _better(
        state, Decision("gamescope", facts.process, "", "", evidence, "", facts.words.name)
    )


def _primary(argv: tuple[str, ...]) -> str:
    """File name of the command that gamescope is told to run, without wrappers."""
    words = after_wrapper("gamescope", list(argv))[:_WORDS]
    return file_name(command_of_words(words).word or words[0] if words else "").lower()


def _launchers(state: State, facts: Facts, ctx: Context) -> State:
    process, words = facts.process, facts.words
    if facts.role == "game_wrappers":
        title = words.title.partition(":")[2].strip() if words.title else _title(process, words)
        evidence = (
            f"pid {process.pid} is {words.name}, which starts one game"
            + (f": {shown(title)}" if title else ""),
        )
        claim = Decision("launcher", process, "", shown(title), evidence)
        made = _better(state, claim)
        return replace(made, launcher=words.name, title=shown(title), steam="")
    own = state.claim is not None and state.claim.rule == "steam" and is_own(facts, state.claim)
    if facts.role == "launchers" and not own:
        if words.name == "steam":
            folder = live_path(process.exe).rpartition("/")[0].rpartition("/")[0]
            weak = state.claim is None or state.claim.rank > _RANK["gamemode"]
            return replace(NEUTRAL, launcher="steam", steam=folder or "/") if weak else state
        return _passed_through(state, facts, words.name)
    if facts.front and not own and (state.claim is None or state.claim.rank > _RANK["java"]):
        entry = ctx.entries.of_process(process, words, marked(ctx.began, process))
        facts.web_game = bool(entry and entry[0].kinds) or _record(facts, ctx) is not None
        if not facts.web_game:
            return _passed_through(state, facts, words.name)
    return state


def _title(process: Process, words: Words) -> str:
    """The title that Lutris' wrapper was told: its first word, before two counts and the command."""
    argv = process.argv
    at = argv.index(words.script) + 1 if words.script in argv else len(argv)
    counts = argv[at + 1 : at + 3]
    return argv[at] if len(counts) == 2 and all(w.isdecimal() for w in counts) else ""


def _passed_through(state: State, facts: Facts, name: str) -> State:
    """A front end: what made it a game does not, what it starts may."""
    folder = live_path(facts.process.exe).rpartition("/")[0]
    if is_system(f"{folder}/") or facts.words.interpreter or facts.words.windows:
        folder = ""
    weak = state.claim is None or state.claim.rank > _RANK["launcher"]
    return replace(
        state,
        claim=None if weak else state.claim,
        launcher=name,
        launcher_folder=folder,
        gamescope="",
    )


def _record(facts: Facts, ctx: Context) -> records.Record | None:
    exe = live_path(facts.process.exe)
    if facts.words.windows or not exe or is_system(exe):
        return None
    return records.of_program(exe, ctx.mounts)


def _proton(state: State, facts: Facts, ctx: Context) -> State:
    process = facts.process
    told, why = proton_target(process, facts.words), "proton"
    if told is None:
        told, why = umu_target(process, facts.words), "umu-run"
    if told is None:
        return state
    if state.claim is not None and state.claim.rank < _RANK["proton"]:
        return state
    if state.steam:
        return replace(NEUTRAL, denied="the Steam client runs Proton itself, without a reaper")
    game_id = process.env.get("GAMEID") or process.env.get("UMU_ID") or ""
    app_id = umu_id(process)
    evidence = [
        f"pid {process.pid} is {why}" + (f", told to run {shown(file_name(told))}" if told else "")
    ]
    if game_id:
        evidence.append(f"environment GAMEID={shown(game_id)}")
    target = file_name(told).lower()
    claim = Decision(
        "proton", process, app_id, state.title, tuple(map(shown, evidence)), "", target
    )
    if (
        known := state.claim
    ) is not None and known.rule == "launcher":  # the launcher's tree, with Proton's name for it
        return state
    return _better(replace(state, proton=True), claim)


def _gamemode(state: State, facts: Facts, ctx: Context) -> State:
    source = marked(ctx.hints, facts.process)
    if not source or facts.role == "launchers":
        return state
    # `exec` is the user's word for one program, whatever it is; GameMode is preloaded into every child of a wrapper.
    facts.named = facts.named or source == EXEC_SOURCE
    evidence = (shown(f"pid {facts.process.pid} was registered by {source}"),)
    return _better(
        state, Decision("gamemode", facts.process, "", state.title, evidence, "", facts.words.name)
    )


def _native(state: State, facts: Facts, ctx: Context) -> State:
    """Programs of this system: what a launcher started, Java games, desktop entries and sandboxes."""
    process, words = facts.process, facts.words
    if (
        words.windows
        or words.helper
        or is_front(facts)
        or state.aside
        or facts.role in ("helpers", "tools", "wine_plumbing", "game_wrappers", "installers")
    ):
        return state
    if state.claim is not None and state.claim.rank <= _RANK["launcher"]:
        return state
    evidence = java_evidence(process, words, ctx.data)
    if evidence and (words.script.lower() in ctx.data.java_games or ctx.draws(facts)):
        claim = Decision("java", process, "", state.title, (shown(evidence),), "", words.name)
        return _better(state, claim)
    if state.launcher and not state.steam and facts.role == "":
        found = _started_by_launcher(state, facts, ctx)
        if found is not None:
            return _better(state, found)
    return _by_entry(state, facts, ctx)


def _started_by_launcher(state: State, facts: Facts, ctx: Context) -> Decision | None:
    """A program of the player's below a front end that draws, or that a store's record names."""
    process, words = facts.process, facts.words
    exe = live_path(process.exe)
    own = state.launcher_folder and exe.startswith(f"{state.launcher_folder}/")
    if own or (words.interpreter and words.interpreter not in WORKING):
        return None
    evidence = [f"started by {shown(state.launcher)}"]
    runner = process.env.get("HEROIC_APP_NAME", "")
    path = words.script if words.interpreter else exe
    command = not words.interpreter and exe.rpartition("/")[0] in SEARCH and not is_tool(facts, ctx)
    contained = exe.startswith("/app/") and not words.interpreter and ctx.draws(facts)
    if is_system(path or exe) and not command and not contained:
        return None  # libraries' own programs draw, and scripts of launchers
    record = _record(facts, ctx)
    if runner:
        evidence.append(f"environment HEROIC_APP_NAME={shown(runner)}")
    if record is not None:
        evidence.append(shown(record.evidence))
    if ctx.draws(facts):
        evidence.append("it holds a render node")
    if len(evidence) < 2:
        return None
    name = state.title or (record.name if record else "")
    return Decision("launcher", process, "", name, tuple(evidence), "", words.name)


def _by_entry(state: State, facts: Facts, ctx: Context) -> State:
    process, words = facts.process, facts.words
    if facts.role == "launchers" or (
        state.claim is not None and state.claim.rank <= _RANK["desktop-entry"]
    ):
        return state
    began = marked(ctx.began, process)
    found = ctx.entries.of_process(process, words, began)
    if found is None and facts.role == "":
        found = _by_folder(facts, ctx) or _by_name(facts, ctx)
    if found is None:
        return _by_record(_by_sandbox(state, facts, ctx), facts, ctx)
    if began and is_tool(facts, ctx):
        return state
    return _with_entry(state, facts, ctx, found[0], found[1])


def _by_folder(facts: Facts, ctx: Context) -> tuple[Entry, str] | None:
    """A script of an entry that has become, or started, the program beside it."""
    found = ctx.entries.of_folder(facts.process)
    if found is None or facts.words.interpreter == "shell" or is_fuse_server(facts.process, ctx):
        return None
    return found if ctx.draws(facts) else None


def _by_name(facts: Facts, ctx: Context) -> tuple[Entry, str] | None:
    """The engine or archive of the system that has, or whose folder has, the name of an entry's program: a script."""
    words = facts.words
    path = words.script if words.interpreter in WORKING else live_path(facts.process.exe)
    if words.interpreter and words.interpreter not in WORKING:
        return None
    if not path.startswith((*_SYSTEM, "/opt/")):
        return None
    *folders, name = path.lower().split("/")
    names = (_ENDING.sub("", name), *reversed(folders[-_FOLDERS:]))
    entry = next((e for n in names if (e := ctx.entries.named.get(n)) is not None), None)
    if entry is None:
        return None
    return (
        (entry, f"{path} is called as the program of {entry.name}, a Game")
        if ctx.draws(facts)
        else None
    )


def is_fuse_server(process: Process, ctx: Context) -> bool:
    """An AppImage's own file as the program: it serves the image; what runs is in the mount."""
    exe = live_path(process.exe)
    return exe.lower().endswith(".appimage") or exe in ctx.entries.images


def _with_entry(
    state: State, facts: Facts, ctx: Context, entry: Entry, evidence: str, app_id: str = ""
) -> State:
    path = facts.process.exe
    if (
        not (entry.kinds or entry.launcher)
        and not facts.words.interpreter
        and records.is_electron(path, ctx.mounts)
    ):
        facts.front = True  # before its helpers show it
        facts.web_game = _record(facts, ctx) is not None
        if not facts.web_game:
            return _passed_through(state, facts, entry.name)
    if entry.launcher:
        return _passed_through(state, facts, entry.name)
    claim = Decision(
        "desktop-entry",
        facts.process,
        shown(app_id),
        entry.name,
        (shown(evidence),),
        "",
        entry.command,
    )
    return _better(state, claim)


def _by_sandbox(state: State, facts: Facts, ctx: Context) -> State:
    """Flatpak, snap, Android, other containers: the sandbox's name, or the program inside, is the entry's."""
    process, boxes = facts.process, ctx.entries.sandboxed
    if not boxes or (
        state.launcher and state.claim is None and facts.role in ("wrappers", "commands")
    ):
        return state
    if (app := flatpak_id(process)) and (entry := boxes.get(f"flatpak:{app}")) and entry.game:
        if state.launcher and not entry.launcher:
            return state
        return _with_entry(
            state, facts, ctx, entry, f"the Flatpak {app} is {entry.name}, a Game", app
        )
    if snap := snap_app(process):
        name, _, part = snap.partition(".")
        entry = boxes.get(f"snap:{name}.{part or name}")
        if entry is not None and entry.game:
            evidence = f"the snap {snap.rstrip('.')} is {entry.name}, a Game"
            return _with_entry(state, facts, ctx, entry, evidence, name)
    if facts.words.program.startswith("app_process") and process.argv:
        entry = boxes.get(f"android:{process.argv[0]}")
        if entry is not None and entry.game:
            evidence = f"the Android package {process.argv[0]} is {entry.name}, a Game"
            return _with_entry(state, facts, ctx, entry, evidence)
    entry = boxes.get(f"contained:{file_name(live_path(process.exe))}")
    if entry is not None and entry.game and facts.role == "" and _in_container(process):
        return _with_entry(
            state, facts, ctx, entry, f"{process.exe} in a container is {entry.name}, a Game"
        )
    return state


def _by_record(state: State, facts: Facts, ctx: Context) -> State:
    """A player's own program that draws, in a folder that a store or a game engine has marked."""
    if (
        state.claim is not None
        or facts.role
        or is_front(facts)
        or is_tool(facts, ctx)
        or is_system(facts.process.exe)
    ):
        return state
    if facts.words.interpreter and facts.words.interpreter not in WORKING:
        return state
    if state.steam or not facts.process.exe or not ctx.draws(facts):
        return state
    record = _record(facts, ctx)
    if record is None:
        return state
    evidence = (shown(record.evidence), "it holds a render node")
    return _better(
        state, Decision("record", facts.process, "", record.name, evidence, "", facts.words.name)
    )


def _in_container(process: Process) -> bool:
    return (
        bool(_CONTAINER.search(process.cgroup))
        or "container" in process.env
        or "CONTAINER_ID" in process.env
    )


def _wine(state: State, facts: Facts, ctx: Context) -> State:
    """A Windows program that draws, and is neither a store, a front end, a service nor a part of Wine."""
    words, process = facts.words, facts.process
    if (
        not words.windows
        or facts.role
        or words.helper
        or facts.front
        or is_service(facts)
        or state.steam
    ):
        return state
    if state.claim is not None and state.claim.rank <= _RANK["desktop-entry"]:
        return state
    if not ctx.draws(facts) or not ctx.settled(facts):
        return state
    if process.env.get("WINEPREFIX", "").rstrip("/").endswith("/compatdata/0/pfx"):
        return replace(state, denied="Steam's own prefix, of no app")
    if (known := ctx.prefix_game(process)) is not None:
        return replace(state, claim=known)
    path = records.path_of(words.windows, process.env.get("WINEPREFIX", ""))
    entry = ctx.entries.windows.get(path.lower())
    if entry is not None and not entry.game and not state.launcher:
        return replace(state, denied=f"its entry {entry.name} does not have the category Game")
    evidence = [f"{shown(file_name(words.windows))} runs in Wine", "it holds a render node"]
    title = state.title or (entry.name if entry is not None else "")
    rule = "wine"
    if state.launcher:
        rule, evidence = "launcher", [f"started by {shown(state.launcher)}", *evidence]
    return _better(state, Decision(rule, process, "", title, tuple(evidence), "", words.name))


# -- what keeps a game going -----------------------------------------------------------------------


def keeps(facts: Facts, state: State, ctx: Context) -> bool:
    """Return True if a process is more than a launcher, a wrapper or a helper of the game that claims it."""
    claim, process, words = state.claim, facts.process, facts.words
    if claim is None or process.kthread or facts.role == "background":
        return False
    if facts.named:
        return True
    if state.aside:
        return False
    if claim.rule == "steam" and is_own(facts, claim):
        named = words.helper or facts.role == "helpers"
        return words.interpreter != "shell" and (not named or ctx.draws(facts))
    if words.helper or facts.role or is_front(facts) or is_service(facts) or is_tool(facts, ctx):
        return False
    if words.interpreter:
        return _script_keeps(facts, claim, ctx)
    if words.windows:
        return _windows_keeps(facts, claim, ctx)
    return _native_keeps(facts, claim, ctx)


def _script_keeps(facts: Facts, claim: Decision, ctx: Context) -> bool:
    words, process = facts.words, facts.process
    if words.interpreter not in WORKING:
        named = claim.rule in ("explicit", "profile") and bool(words.script)
        return named or (ctx.draws(facts) if is_players(process.exe) else facts.draws)
    if claim.root.identity == process.identity and claim.rule in (
        "desktop-entry",
        "java",
        "gamemode",
        "launcher",
        "record",
    ):
        return not flatpak_id(process) or _is_command(facts, claim) or ctx.draws(facts)
    return claim.rule in ("explicit", "profile") or ctx.draws(facts)


def _windows_keeps(facts: Facts, claim: Decision, ctx: Context) -> bool:
    if claim.rule in ("explicit", "profile", "gamemode"):
        return True
    if claim.rule == "steam":
        return not claim.folder or ctx.draws(facts)
    return facts.words.name == claim.target or ctx.draws(facts)


def _native_keeps(facts: Facts, claim: Decision, ctx: Context) -> bool:
    exe = live_path(facts.process.exe)
    if is_fuse_server(facts.process, ctx):
        return False
    if claim.rule == "steam" and claim.folder:
        return ctx.draws(facts) or (not is_system(exe) and exe != "")
    if claim.rule in ("launcher", "proton") and is_system(exe):
        return ctx.draws(facts)
    if claim.rule == "desktop-entry" and claim.app_id:  # of a sandbox, the command alone
        return _is_command(facts, claim) or ctx.draws(facts)
    return True


def _is_command(facts: Facts, claim: Decision) -> bool:
    """Return True if a program of a sandbox is the one that its entry starts."""
    name = facts.words.name
    wanted = {file_name(claim.target).lower(), claim.app_id.rpartition(".")[2].lower()} - {""}
    return name in wanted or any(
        w.startswith(f"{name}-") or w.rpartition(".")[0] == name for w in wanted
    )


def is_aside(facts: Facts, state: State, ctx: Context) -> bool:
    """Return True if a process in a game's tree is no part of it, and has no class."""
    claim = state.claim
    if claim is None or facts.process.kthread:
        return True
    if facts.named or claim.root.identity == facts.process.identity:
        return False
    if state.aside or facts.role == "background":
        return True
    if claim.rule == "steam" and is_own(facts, claim):
        return facts.role == "helpers" and not facts.draws
    if facts.role in ("helpers", "tools"):
        return True
    stored = facts.words.windows and facts.parent.windows and facts.parent.name == state.launcher
    if stored and not ctx.draws(facts):
        return True  # a service of the store in Wine that started it; a game is none once it draws
    return (
        is_front(facts)
        or is_fuse_server(facts.process, ctx)
        or bool(facts.words.helper)
        or facts.role == "launchers"
        or is_tool(facts, ctx)
    )


# -- reasons ---------------------------------------------------------------------------------------


def why_not(facts: Facts, state: State, ctx: Context) -> str:
    """One clause for `games explain` of something that is no game."""
    process, words = facts.process, facts.words
    if process.kthread:
        return "it is a kernel thread"
    if state.denied:
        return state.denied
    if words.helper:
        return f"it is a helper process of a browser engine (--type={words.helper})"
    if facts.role:
        return f"{shown(words.name)} is listed under {facts.role}"
    if is_front(facts):
        return f"{shown(words.name)} is a front end: helper processes of a browser engine are its children"
    if is_fuse_server(process, ctx):
        return "it is an AppImage's file itself, which serves the image to what runs in it"
    if is_other(facts, ctx):
        return "its desktop entry does not have the category Game"
    if state.claim is not None:
        return f"rule {state.claim.rule} matches, but nothing in that tree is more than a launcher"
    if words.windows and not facts.draws:
        return f"{shown(file_name(words.windows))} runs in Wine, and nothing of it draws (holds a render node)"
    if words.windows and not ctx.settled(facts):
        return f"{shown(file_name(words.windows))} is so young that it may be a store that has not shown itself"
    if not facts.draws:
        return "no rule matched"
    image = process.env.get("APPIMAGE", "") if process.exe.startswith(_MOUNTED) else ""
    what = f"the AppImage {shown(image)}" if image else "it"
    return f"{what} draws, but no launcher, no entry of category Game and no record says that it is a game"


def looked_for(facts: Facts, state: State, ctx: Context) -> list[str]:
    """List the facts that the rules looked for, in their order, and what they found."""
    process, words = facts.process, facts.words
    env = env_app_id(process)
    entry = ctx.entries.of_process(process, words, marked(ctx.began, process))
    drawing = "yes" if facts.draws or ctx.draws(facts) else "no"
    app = flatpak_id(process) or snap_app(process)
    record = _record(facts, ctx)
    return [
        f"marked by `games add` or `exec`: {'yes' if marked(ctx.explicit, process) else 'no'}",
        f"Steam's reaper with an AppID above it: {'yes' if state.claim and state.claim.rule == 'steam' else 'no'}",
        f"AppID in its environment: {env or 'no'}",
        f"AppID in its scope: {_scope_id(process) or 'no'}",
        f"Proton or umu above it: {'yes' if state.proton else 'no'}",
        f"registered with GameMode: {'yes' if marked(ctx.hints, process) else 'no'}",
        f"launcher, itself or above it: {state.launcher or 'no'}",
        f"Java game by main class or jar: {java_evidence(process, words, ctx.data) or 'no'}",
        f"desktop entry of category Game: {shown(entry[0].name) if entry else 'no'}",
        f"sandbox: {shown(app) if app else 'no'}",
        f"below gamescope's own command: {'yes' if state.claim and state.claim.rule == 'gamescope' else 'no'}",
        f"record of a store or an engine beside it: {shown(record.evidence) if record else 'no'}",
        f"Windows program: {shown(file_name(words.windows)) if words.windows else 'no'}",
        f"holds a render node: {drawing}",
    ]


def _scope_id(process: Process) -> str:
    found = _SCOPE.search(process.cgroup)
    return found[1] if found else ""

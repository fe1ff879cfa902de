# SPDX-License-Identifier: GPL-2.0-or-later
"""Desktop entries: which programs are games, which are launchers, and which are neither.

Entries of Category Game name native games. An entry that starts a generic program (`java`, `love`, `distrobox`) names
the argument with it. Entries without Category Game name what is opened from a game and is no part of it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scx_gamer.games import userfiles
from scx_gamer.games.commandline import Words, family, file_name, live_path, unwrap
from scx_gamer.games.proc import Process
from scx_gamer.system.text import printable

MAX_ENTRY_BYTES = userfiles.MAX_BYTES
MAX_ENTRIES = 4096  # of all places together
MAX_NAME = 128
_MAX_PASSWD = 1 << 20
_FIRST_USER, _NOBODY = 1000, 65534  # of login.defs(5)
_WORDS = 64  # of an Exec line
_DEPTH = 6  # a wrapper in a wrapper

# Main categories of the menu specification that stores and managers have beside Game, and its words for kinds of games.
_TOOLS = frozenset({"Development", "Network", "Office", "Settings", "System", "Utility"})
_KINDS = frozenset({
    "ActionGame", "AdventureGame", "ArcadeGame", "BoardGame", "BlocksGame", "CardGame", "KidsGame", "LogicGame",
    "RolePlaying", "Shooter", "Simulation", "SportsGame", "StrategyGame", "Emulator",
})  # fmt: skip
# gamescope, src/main.cpp: required_argument.
_GAMESCOPE = frozenset({
    "-w", "-h", "-r", "-m", "-S", "-F", "-W", "-H", "-s", "-o", "-O", "-R", "-T", "-C", "--nested-width",
    "--nested-height", "--nested-refresh", "--max-scale", "--scaler", "--filter", "--output-width",
    "--output-height", "--sharpness", "--fsr-sharpness", "--prefer-vk-device", "--mouse-sensitivity",
    "--pass-fds-to-child", "--backend", "--display-index", "--nested-unfocused-refresh", "--prefer-output",
    "--default-touch-mode", "--generate-drm-mode", "--framerate-limit", "--xwayland-count", "--cursor",
    "--cursor-hotspot", "--ready-fd", "--stats-path", "--hide-cursor-delay", "--reshade-effect",
    "--reshade-technique-idx", "--hdr-sdr-content-nits", "--hdr-itm-sdr-nits", "--hdr-itm-target-nits",
    "--sdr-gamut-wideness", "--touch-click-mode",
})  # fmt: skip
# Wrapper → options that take the next word. The program comes after them.
_WRAPPERS: dict[str, frozenset[str]] = {
    "env": frozenset({"-u", "--unset", "-C", "--chdir", "-S", "--split-string"}),
    "nice": frozenset({"-n", "--adjustment"}),
    "ionice": frozenset({"-c", "-n", "--class", "--classdata"}),
    "chrt": frozenset(),
    "taskset": frozenset({"-c", "--cpu-list"}),
    "timeout": frozenset({"-k", "-s"}),
    "stdbuf": frozenset({"-i", "-o", "-e"}),
    "sudo": frozenset({"-u", "-g"}),
    "systemd-run": frozenset({"-p", "--property", "--slice", "--unit", "-E", "--setenv", "-u"}),
    "systemd-inhibit": frozenset(),
    "gamescope": _GAMESCOPE,
    "firejail": frozenset(),
    "switcherooctl": frozenset({"-g", "--gpu"}),
    "strangle": frozenset(),
    "konsole": frozenset({"-p", "--profile", "--workdir"}),
    "xterm": frozenset({"-T", "-title", "-geometry", "-fn", "-fa", "-fs"}),
    "distrobox": frozenset({"-n", "--name", "-a", "--additional-flags"}),
    "distrobox-enter": frozenset({"-n", "--name", "-a", "--additional-flags"}),
    "toolbox": frozenset({"-c", "--container", "-d", "-r"}),
    "flatpak": frozenset(),
    **dict.fromkeys((
        "gamemoderun", "mangohud", "prime-run", "primusrun", "optirun", "pvkrun", "setsid", "nohup",
        "dbus-run-session", "dbus-launch", "obs-gamecapture", "obs-vkcapture", "obs-glcapture", "gamemode",
        "steam-run", "nixgl", "nixvulkan", "nixglintel", "nixvulkanintel", "pkexec", "doas", "time", "exec",
        "uwsm", "uwsm-app", "app2unit", "kstart", "kstart5", "scx-gamer", "junest", "vblank_mode",
        "gnome-terminal", "alacritty", "kitty", "foot", "xfce4-terminal", "x-terminal-emulator", "lxterminal",
        "mate-terminal", "wezterm", "ptyxis", "kgx", "aa-exec", "umu-run", "apptainer", "proot", "unshare", "chroot",
    ), frozenset[str]()),
}  # fmt: skip
_SUBCOMMANDS = frozenset({"launch", "run", "enter", "app", "exec", "start", "--", "shell"})
# Programs that show or open whatever they are given: as a program they say nothing.
_OPENERS = frozenset({
    "xdg-open", "gio", "gtk-launch", "kde-open", "kde-open5", "exo-open", "kioclient", "kioclient5", "open", "steam",
    "steam-runtime", "steam-native", "lutris", "heroic", "bottles-cli", "com.usebottles.bottles", "itch", "minigalaxy",
    "wine", "wine64", "wine-stable", "wine-development", "proton", "protontricks-launch", "cartridges", "snap", "true",
    "podman", "docker", "lxc", "machinectl", "ssh", "waydroid", "am", "dex", "notify-send", "zenity",
})  # fmt: skip
SEARCH = (
    "/usr/games", "/usr/local/games", "/usr/local/bin", "/usr/bin", "/bin", "/snap/bin",
    "/run/current-system/sw/bin", "/run/current-system/profile/bin",
)  # fmt: skip
# Where many programs are beside each other: a folder that says nothing of who belongs together.
_SHARED = frozenset({"bin", "sbin", "games", "lib", "libexec", "lib64", "share", "local", "opt", "usr", "home", "tmp",
                     "applications", "appimages", "downloads", "desktop", "documents", ""})  # fmt: skip
_STORES = ("/nix/store/", "/gnu/store/")
_HOME = re.compile(r"""(?<![^\s"'=])~(?=/)|\$HOME\b|\$\{HOME\}""")
_RUN = ("-e", "-x", "--", "--command", "--execute")  # of terminals: the program follows
_PROGRAM = re.compile(r"^[^-][^.]*(\.(sh|bin|x86_64|x86|AppImage))?$")
_FLATPAK_ID = re.compile(r"^[A-Za-z_][\w-]*(\.[A-Za-z0-9_][\w-]*)+$")


@dataclass(frozen=True, slots=True)
class Entry:
    """A desktop entry that says something of a process."""

    name: str
    game: bool  # Category Game
    kinds: bool = False  # it says which kind of game
    launcher: bool = False  # it says that it is a tool or a store beside
    argument: str = ""  # the first one, without which a program of other entries counts for nothing
    command: str = ""  # of a sandbox


@dataclass(slots=True)
class Entries:
    """Index of the readable entries. Paths are as `/proc/PID/exe` shows them, links resolved."""

    programs: dict[str, Entry] = field(default_factory=dict)  # path → entry
    # (family or name, argument).
    with_argument: dict[tuple[str, str], Entry] = field(default_factory=dict)
    folders: dict[str, Entry] = field(default_factory=dict)  # a game's own folder → entry
    # flatpak:ID, snap:NAME, android:PACKAGE, contained:PROGRAM.
    sandboxed: dict[str, Entry] = field(default_factory=dict)
    # Linux path of a Windows program, lower case.
    windows: dict[str, Entry] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)  # paths of programs that are no games
    sessions: set[str] = field(default_factory=set)  # file names of programs that start a desktop
    names: set[str] = field(default_factory=set)  # file names of all that an exec may show
    named: dict[str, Entry] = field(default_factory=dict)  # file name of a program in $PATH → entry
    images: set[str] = field(default_factory=set)  # paths of programs that are AppImages
    refused: int = 0  # entries beyond the limit

    def __len__(self) -> int:
        return len(self.programs) + len(self.with_argument) + len(self.sandboxed)

    @classmethod
    def of(cls, found: Entries | Mapping[str, str]) -> Entries:
        """From a mapping of path or `flatpak:ID` to an entry's name."""
        if isinstance(found, Entries):
            return found
        made = cls()
        for word, name in found.items():
            if word.startswith("flatpak:"):
                made.sandboxed[word] = Entry(name, True)
            elif not family(file_name(word)):
                made.add_program(word, word, Entry(name, True))
        return made

    def add_program(self, path: str, resolved: str, entry: Entry) -> None:
        for one in (path, resolved):
            self.programs.setdefault(one, entry)
            self.names.add(file_name(one))
            if one.startswith(_STORES) or one.rpartition("/")[0] in SEARCH:
                self.named.setdefault(file_name(one).lower(), entry)
            folder = one.rpartition("/")[0]
            if file_name(folder).lower() not in _SHARED and folder.count("/") > 1:
                self.folders.setdefault(folder, entry)

    def leave_out_shared(self) -> None:
        """Let programs that other entries start for other things count with their file alone: an engine's runner with a
        game's archive; a browser with a game's address counts for nothing."""
        for path in [p for p in self.others & self.programs.keys() if self.programs[p].argument]:
            entry = self.programs.pop(path)
            if entry.argument.startswith("/"):
                self.with_argument.setdefault((file_name(path).lower(), entry.argument), entry)
            for table in (self.folders, self.named):
                for key in [k for k, found in table.items() if found is entry]:
                    del table[key]

    # -- questions ---------------------------------------------------------------------------------

    def of_process(
        self, process: Process, words: Words, began: str = ""
    ) -> tuple[Entry, str] | None:
        """The entry of Category Game that a process belongs to, and the fact that says so."""
        exe = live_path(process.exe)
        if (
            began
            and began != exe
            and (entry := self.programs.get(began))
            and family(words.program) not in ("shell", "loader", "emulator")
        ):
            return entry, f"it began as {began}, the program of {entry.name}, a Game"
        if exe and not exe.lower().endswith(".appimage") and (entry := self.programs.get(exe)):
            return entry, f"{exe} is the program of {entry.name}, a Game"
        own = f"{exe.rpartition('/')[0]}/{unwrap(file_name(exe))}"
        if own != exe and (entry := self.programs.get(own)):
            return entry, f"{own} is the program of {entry.name}, a Game"
        if words.script.startswith("/") and (entry := self.programs.get(words.script)):
            return entry, f"its script {words.script} is the program of {entry.name}, a Game"
        image = process.env.get("APPIMAGE", "")
        inside = image and exe != image and (not family(words.program) or words.script)
        if inside and (entry := self.programs.get(image)):
            return entry, f"APPIMAGE={image} is the program of {entry.name}, a Game"
        return self.with_argument_of(process, words)

    def with_argument_of(self, process: Process, words: Words) -> tuple[Entry, str] | None:
        if not self.with_argument:
            return None
        for kind in {words.interpreter, words.program, file_name(live_path(process.exe))} - {""}:
            for word in (words.script, *process.argv[1:_WORDS]):
                if (entry := self.with_argument.get((kind, word))) is not None:
                    return (
                        entry,
                        f"{words.program} with {word} is what {entry.name}, a Game, starts",
                    )
        return None

    def of_folder(self, process: Process) -> tuple[Entry, str] | None:
        """The entry whose program lies in the process's folder, or above it."""
        folder = live_path(process.exe).rpartition("/")[0]
        for _ in range(4):
            if not folder:
                return None
            if (entry := self.folders.get(folder)) is not None:
                return entry, f"it lies in {folder}, the folder of {entry.name}, a Game"
            folder = folder.rpartition("/")[0]
        return None


# -- one entry ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """The command of an Exec line: a word, its arguments, and in which kind of sandbox (`flatpak:ID`, …)."""

    word: str = ""
    arguments: tuple[str, ...] = ()
    sandbox: str = ""
    contained: bool = False  # the program is in a container, where paths are others


def keys_of(text: str) -> dict[str, str]:
    """Keys of the group `Desktop Entry`."""
    section, keys = "", dict[str, str]()
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == "Desktop Entry" and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys.setdefault(key.strip(), value.strip())
    return keys


def parse_entry(text: str, home: str = "") -> tuple[Entry, Command] | None:
    """A desktop entry's text → what it is and what it starts; None for one that starts nothing. `home`: of its user."""
    keys = keys_of(text)
    line = keys.get("Exec", "")
    if keys.get("Type", "Application") != "Application" or not line:
        return None
    command = command_of(_HOME.sub(home, line) if home else line, keys.get("Path", ""))
    if command.sandbox.startswith("snap:") and keys.get("X-SnapInstanceName"):
        app = keys.get("X-SnapAppName") or keys["X-SnapInstanceName"]
        command = Command(
            command.word, command.arguments, f"snap:{keys['X-SnapInstanceName']}.{app}"
        )
    if not command.word and not command.sandbox:
        return None
    found = {word for word in keys.get("Categories", "").split(";") if word}
    if not found:  # made by hand, or by Wine: it does not say what it starts
        return None
    entry = Entry(
        name=printable(keys.get("Name") or file_name(command.word), MAX_NAME),
        game="Game" in found,
        kinds=bool(found & _KINDS),
        launcher="PackageManager" in found or (bool(found & _TOOLS) and not found & _KINDS),
        command=_flatpak_command(line) if command.sandbox.startswith("flatpak:") else "",
    )
    return entry, command


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line[:MAX_ENTRY_BYTES])
    except ValueError:
        return []
    return [w for w in words[: 2 * _WORDS] if not re.fullmatch(r"%[fFuUdDnNickvm]|@@u?", w)][
        :_WORDS
    ]


def command_of(line: str, folder: str = "") -> Command:
    """Unwrap an Exec line, executed in `folder`, down to the program that it is about."""
    return command_of_words(_words(line), folder)


def command_of_words(words: list[str], folder: str = "") -> Command:
    contained = False
    for _ in range(_DEPTH):
        if not words:
            return Command()
        name = file_name(words[0]).lower()
        if name == "flatpak":
            app = next((w for w in words[1:] if _FLATPAK_ID.match(w)), "")
            return Command("", (), f"flatpak:{app}") if app and "run" in words[1:3] else Command()
        if words[0].startswith("/snap/bin/") or (name == "snap" and words[1:2] == ["run"]):
            app = (
                file_name(words[0])
                if name != "snap"
                else next((w for w in words[2:] if w[0] != "-"), "")
            )
            return (
                Command("", (), f"snap:{app if '.' in app else f'{app}.{app}'}")
                if app
                else Command()
            )
        if name == "waydroid":
            return (
                Command("", (), f"android:{words[3]}")
                if words[1:3] == ["app", "launch"] and len(words) > 3
                else Command()
            )
        if family(name) == "shell" and len(words) > 1:
            inner = _shell_command(words)
            if inner is None:
                break
            words, folder = inner[0], inner[1] or folder
        elif name in _WRAPPERS:
            contained = contained or name in (
                "distrobox",
                "distrobox-enter",
                "toolbox",
                "junest",
                "apptainer",
            )
            words = after_wrapper(name, words)
        elif "=" in words[0] and re.match(r"^\w+=", words[0]):
            words = words[1:]
        else:
            break
    if not words:
        return Command()
    word = words[0]
    if "/" in word and folder.startswith("/"):
        word = os.path.normpath(os.path.join(folder, word))
    return Command(word, tuple(words[1:]), "", contained)


def after_wrapper(name: str, words: list[str]) -> list[str]:
    """The words after a wrapper's own."""
    options, at = _WRAPPERS[name], 1
    if "--" in words:
        return words[words.index("--") + 1 :]
    while at < len(words):
        word = words[at]
        if word in ("-e", "-x", "--command") and name not in ("gamescope", "env", "stdbuf"):
            at += 1
            break
        if word in options:
            at += 2
        elif (
            word.startswith("-")
            or word in _SUBCOMMANDS
            or re.match(r"^\w+=", word)
            or (
                name in ("taskset", "chrt", "timeout", "strangle")
                and re.fullmatch(r"[0-9a-fx.,msh]+", word)
            )
        ):
            at += 1
        else:
            break
    return words[at:]


def _shell_command(words: list[str]) -> tuple[list[str], str] | None:
    """The command of `sh -c "…"` without what only prepares it, and the folder it changes to; None for a script."""
    for at, word in enumerate(words[1:], 1):
        if word.startswith("-") and word.endswith("c") and at + 1 < len(words):
            steps = [_words(step) for step in re.split(r"&&|;|\|\|", words[at + 1])]
            folder = next((s[1] for s in steps if s[:1] == ["cd"] and len(s) == 2), "")
            return steps[-1], folder
        if not word.startswith("-"):
            return None if at == 1 and len(words) == 2 else (words[at:], "")
    return [], ""


def _flatpak_command(line: str) -> str:
    return next((w[10:] for w in _words(line) if w.startswith("--command=")), "")


# -- all of them ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of entries. `home`: of a user, below whom links must stay; empty for the system's."""

    path: str
    home: str = ""

    def __str__(self) -> str:
        return self.path


def folders(mounts: userfiles.Mounts | None = None) -> list[Place]:
    """List the folders of this machine's entries: of the system, of Nix's and Guix's profiles, of the exports of
    Flatpak and snap, and of each user."""
    named = os.environ.get("SCX_GAMER_DESKTOP_DIRS")
    if named is not None:
        return [Place(name) for name in named.split(":") if name]
    shared = [
        *os.environ.get("XDG_DATA_DIRS", "").split(":"),
        "/usr/local/share",
        "/usr/share",
        "/var/lib/flatpak/exports/share",
        "/run/current-system/sw/share",
        "/run/current-system/profile/share",
        "/nix/var/nix/profiles/default/share",
        *_installations(),
        *_profiles("/etc/profiles/per-user", "share"),
        *_profiles("/nix/var/nix/profiles/per-user", "profile/share"),
        *_profiles("/var/guix/profiles/per-user", "guix-profile/share"),
    ]
    found = [f"{path.rstrip('/')}/applications" for path in shared if path.startswith("/")]
    places = [Place(p) for p in dict.fromkeys((*found, "/var/lib/snapd/desktop/applications"))]
    mounts = mounts or userfiles.Mounts.of()
    for home in homes(mounts):
        share = f"{home}/.local/share"
        for path in (
            share,
            f"{share}/flatpak/exports/share",
            f"{home}/.nix-profile/share",
            f"{home}/.guix-profile/share",
            f"{home}/.guix-home/profile/share",
        ):
            places.append(Place(f"{path}/applications", home))
        places.append(Place(f"{home}/Desktop", home))
    return places


def homes(mounts: userfiles.Mounts) -> list[str]:
    """Homes of users on file systems that answer."""
    found: list[str] = []
    for parent in ("/home", "/var/home"):
        where = userfiles.resolve(parent, mounts)
        if where and mounts.answers(where):
            try:
                names = sorted(os.listdir(where))[: userfiles.MAX_NAMES]
            except OSError:
                continue
            found += [h for name in names if mounts.answers(h := f"{where}/{name}")]
    users = userfiles.read_root("/etc/passwd", _MAX_PASSWD).decode("utf-8", "replace")
    for line in users.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdecimal() and _FIRST_USER <= int(fields[2]) < _NOBODY:
            home = fields[5].rstrip("/")
            if home.count("/") > 1 and len(found) < userfiles.MAX_NAMES and mounts.answers(home):
                found.append(home)
    return list(dict.fromkeys(found))


def _installations() -> list[str]:
    """Exports of further installations of Flatpak (flatpak-installation(5))."""
    found: list[str] = []
    folder = "/etc/flatpak/installations.d"
    for name in _listed(Place(folder), userfiles.Mounts()):
        text = userfiles.read_root(f"{folder}/{name}").decode("utf-8", "replace")
        found += [
            f"{path.rstrip('/')}/exports/share" for path in re.findall(r"^Path=(/.*)$", text, re.M)
        ]
    return found


def _profiles(parent: str, below: str) -> list[str]:
    try:
        return [f"{parent}/{name}/{below}" for name in sorted(os.listdir(parent))[:256]]
    except OSError:
        return []


def desktop_games(places: Iterable[Place | Path | str]) -> tuple[Entries, frozenset[str]]:
    """All entries at once, and the file names of programs of games."""
    found = Entries()
    for _ in read_entries(places, found):
        pass
    return found, frozenset(found.names)


def read_entries(places: Iterable[Place | Path | str], into: Entries) -> Iterator[None]:
    """Read every entry into `into`, one each time it is asked."""
    mounts = userfiles.Mounts.of()
    left = MAX_ENTRIES
    seen: set[str] = set()
    for place in places:
        at = place if isinstance(place, Place) else Place(str(place))
        for name in _entries_of(at, mounts):
            if not at.home and name in seen:
                continue
            left -= 1
            if left < 0:
                into.refused += 1
                continue
            seen.add(name)
            text = _text(at, name, mounts)
            if text:
                add_entry(parse_entry(text, at.home), into, at, mounts)
            yield
    into.leave_out_shared()
    for folder in ("/usr/share/wayland-sessions", "/usr/share/xsessions"):
        for name in _listed(Place(folder), mounts):
            word = command_of(keys_of(_text(Place(folder), name, mounts)).get("Exec", "")).word
            if word:
                into.sessions.add(file_name(word).lower())
        yield


def _listed(place: Place, mounts: userfiles.Mounts) -> list[str]:
    if place.home:
        below = place.path[len(place.home) + 1 :]
        return sorted(userfiles.names_below(place.home, below, mounts))
    try:
        with os.scandir(place.path) as entries:
            return sorted(e.name for _, e in zip(range(userfiles.MAX_NAMES), entries, strict=False))
    except OSError:
        return []


def _entries_of(place: Place, mounts: userfiles.Mounts) -> Iterator[str]:
    """Names of entries in a folder and, as `FOLDER/NAME`, in those right below it."""
    for name in _listed(place, mounts):
        if name.endswith(".desktop"):
            yield name
        elif "." not in name:
            below = _listed(Place(f"{place.path}/{name}", place.home), mounts)
            yield from (f"{name}/{inner}" for inner in below if inner.endswith(".desktop"))


def _text(place: Place, name: str, mounts: userfiles.Mounts) -> str:
    if place.home:
        below = f"{place.path[len(place.home) + 1 :]}/{name}"
        raw = userfiles.read_below(place.home, below, mounts, MAX_ENTRY_BYTES)
    else:
        raw = userfiles.read_root(f"{place.path}/{name}", MAX_ENTRY_BYTES)
    return raw.decode("utf-8", "replace")


def add_entry(
    parsed: tuple[Entry, Command] | None, into: Entries, place: Place, mounts: userfiles.Mounts
) -> None:
    if parsed is None:
        return
    entry, command = parsed
    if command.sandbox:
        into.sandboxed.setdefault(command.sandbox, entry)
        if entry.game:
            into.names |= {file_name(entry.command)} - {""}
            into.names |= (
                {command.sandbox.partition(":")[2].rpartition(".")[2]}
                if not entry.command
                else set()
            )
        return
    word = file_name(command.word)
    kind = family(word)
    if kind == "shell" and not command.arguments and place.home:
        kind = ""  # a game called fish
    windows = next(
        (w for w in (command.word, *command.arguments) if w.lower().endswith(".exe")), ""
    )
    if windows.startswith("/") and kind not in ("mono", "dotnet"):
        into.windows.setdefault(windows.lower(), entry)
        return
    if kind or word.lower() in _OPENERS:
        _add_generic(entry, command, kind or word.lower(), into)
        return
    program = _program(command.word, place, mounts)
    start = next((at for at, w in enumerate(command.arguments, 1) if w in _RUN), 0)
    # a program that is told to run another one is a wrapper
    for inner in command.arguments[start : start + _DEPTH]:
        told = _program(inner, place, mounts) if entry.game and _runs(program, inner) else ""
        if not told:
            break
        program = told
    if not program:
        if command.contained and entry.game:
            into.sandboxed.setdefault(f"contained:{word}", entry)
            into.names.add(word)
        return
    resolved = userfiles.resolve(program, mounts) or program
    if file_name(resolved) in ("snap", "flatpak", "busybox", "env"):
        return
    if not entry.game:
        into.others |= {resolved}
    elif command.contained:
        into.sandboxed.setdefault(f"contained:{word}", entry)
        into.names.add(word)
    else:
        words = command.arguments
        argument = next((w for w in words if w.startswith("/")), next(iter(words), ""))
        into.add_program(program, resolved, replace(entry, argument=argument))
        if userfiles.is_image(resolved, mounts):
            into.images |= {program, resolved}


def _add_generic(entry: Entry, command: Command, kind: str, into: Entries) -> None:
    """A program that takes the game as an argument counts with that argument alone."""
    if not entry.game:
        return
    argument = next((w for w in command.arguments if w[:1] not in "-+" and not w.isdecimal()), "")
    if not argument or ":" in argument[:24]:  # steam://, lutris:, https://: another one starts it
        return
    made = Entry(entry.name, True, entry.kinds, entry.launcher, argument)
    into.with_argument.setdefault((kind, argument), made)
    if argument.startswith("/"):
        into.programs.setdefault(argument, made)
    into.names |= {file_name(command.word), file_name(argument)}


def _runs(program: str, argument: str) -> bool:
    """Whether a command of the system, which is none of its games, may run its argument: game data has a suffix."""
    folder = program.rpartition("/")[0]
    return folder in SEARCH and not folder.endswith("/games") and bool(_PROGRAM.match(argument))


def _program(word: str, place: Place, mounts: userfiles.Mounts) -> str:
    """The path that an Exec line means; empty when there is no such program."""
    if word.startswith("/"):
        return word if userfiles.is_program(userfiles.resolve(word, mounts), mounts) else ""
    places: tuple[str, ...] = SEARCH
    profile = place.path.removesuffix("/share/applications")
    if profile != place.path:
        places = (f"{profile}/bin", *SEARCH)
    if place.home:
        places = (*places, f"{place.home}/.local/bin", f"{place.home}/bin")
    for folder in places:
        path = f"{folder}/{word}"
        if userfiles.is_program(userfiles.resolve(path, mounts), mounts):
            return path
    return ""

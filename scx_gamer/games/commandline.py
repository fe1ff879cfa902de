# SPDX-License-Identifier: GPL-2.0-or-later
"""The program that a command line runs, told apart from words that it merely mentions. Pure; imports nothing of ours.

A word counts as the program (`exe`, `argv[0]`) or as the script of an interpreter, and nowhere else: `vim
/usr/bin/umu-run` edits a script, `python3 /usr/bin/umu-run` runs it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

MAX_WORDS = 4096  # of a command line that are looked at
_DEPTH = 3  # a loader of a loader of a program

_VERSION = re.compile(r"^([a-z][a-z0-9+]*?)(?:[-_.]?[0-9][0-9._]*)?(?:-(?:bin|real|wrapped))?$")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "ash", "rbash"})
# Interpreter → options that take the next word. Those of `_NO_SCRIPT` say that no script follows.
_OPTIONS: dict[str, frozenset[str]] = {
    "shell": frozenset({"-o", "+o", "-O", "+O", "--rcfile", "--init-file"}),
    "python": frozenset({"-W", "-X", "--check-hash-based-pycs"}),
    "perl": frozenset({"-I", "-M", "-m"}),
    "ruby": frozenset({"-I", "-r", "-C", "-E"}),
    "lua": frozenset({"-l"}),
    "node": frozenset({"-r", "--require", "--import", "--loader"}),
    "php": frozenset({"-c", "-d", "-z"}),
    "tcl": frozenset({"-encoding"}),
    "guile": frozenset({"-L", "-C", "-l", "-x"}),
    "mono": frozenset({"--config", "--runtime"}),
    "dotnet": frozenset({"--additionalprobingpath", "--depsfile", "--runtimeconfig", "--fx-version", "--roll-forward"}),
    "love": frozenset(),
    "electron": frozenset({"-r", "--require"}),
    "dosbox": frozenset({"-conf", "-c", "-set", "-lang", "-machine"}),
    "java": frozenset({
        "-cp", "-classpath", "--class-path", "-p", "--module-path", "--upgrade-module-path", "--add-modules",
        "--add-opens", "--add-exports", "--add-reads", "--source", "--patch-module", "--limit-modules",
        "--enable-native-access",
    }),
    "loader": frozenset({
        "--library-path", "--preload", "--argv0", "--audit", "--inhibit-rpath", "--glibc-hwcaps-prepend",
    }),
    "emulator": frozenset({"-L", "-E", "-cpu", "-s", "-B", "-U", "-0"}),
}  # fmt: skip
_NO_SCRIPT: dict[str, frozenset[str]] = {
    "shell": frozenset({"-c", "-s"}),
    "python": frozenset({"-c"}),
    "perl": frozenset({"-e", "-E"}),
    "ruby": frozenset({"-e"}),
    "lua": frozenset({"-e"}),
    "node": frozenset({"-e", "--eval", "-p", "--print"}),
    "php": frozenset({"-r"}),
    "guile": frozenset({"-c"}),
}
_NAMES: dict[str, str] = {
    **dict.fromkeys(_SHELLS, "shell"),
    **dict.fromkeys(("python", "pypy", "python3-intel64", "pythonw"), "python"),
    **dict.fromkeys(("perl", "ruby", "php", "guile", "love", "electron", "mono", "dotnet"), ""),
    **dict.fromkeys(("lua", "luajit", "texlua"), "lua"),
    **dict.fromkeys(("node", "nodejs", "gjs", "deno", "bun"), "node"),
    **dict.fromkeys(("tclsh", "wish"), "tcl"),
    **dict.fromkeys(("mono-sgen", "mono-boehm"), "mono"),
    **dict.fromkeys(("java", "javaw"), "java"),
    **dict.fromkeys(("dosbox", "dosbox-x", "dosbox-staging"), "dosbox"),
    **dict.fromkeys(
        ("box64", "box86", "fexinterpreter", "fexloader", "fex", "fexbash"), "emulator"
    ),
}
_QEMU = re.compile(r"^qemu-(x86_64|i386|aarch64|arm)(-static)?$")
_LOADER = re.compile(r"^ld(-linux.*|-musl.*|64|-\d.*)?\.so(\.\d+)*$")
# Whose script is a game as much as a program is: they do the work themselves. A shell starts somebody who does.
WORKING = frozenset(_OPTIONS) - {"shell", "loader", "emulator"}
# Kinds of helper processes that Chromium and what embeds it start (content/public/common/content_switches.cc,
# `--type=`) and Firefox's (`-contentproc`).
_CHROMIUM = re.compile(
    r"^(?:.* )?--type=(renderer|gpu-process|utility|zygote|ppapi|gpu-broker|broker|relauncher)(?: .*)?$", re.S
)  # fmt: skip


def file_name(path: str) -> str:
    """Last part of a path of Linux or Windows."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def unwrap(name: str) -> str:
    """NixOS's and Guix's `.name-wrapped` and `.name-real` are `name`."""
    if name.startswith(".") and name.endswith(("-wrapped", "-real", "-wrapped_")):
        return name[1 : name.rindex("-")]
    return name


def live_path(exe: str) -> str:
    """The path of an executable that an upgrade has replaced under a process that goes on."""
    return exe.removesuffix(" (deleted)")


def family(program: str) -> str:
    """The kind of interpreter that a file name stands for; empty for none. `python3.12` and `python3` are one."""
    program = program.lower()
    found = _NAMES.get(program)
    if found is None:
        if _QEMU.match(program):
            return "emulator"
        if _LOADER.match(program):
            return "loader"
        match = _VERSION.match(program)
        program = match[1] if match else ""
        found = _NAMES.get(program)
    return (found or program) if found is not None else ""


@dataclass(frozen=True, slots=True)
class Words:
    """The program of a process. Paths as they were written; `name` in lower case."""

    program: str = ""  # file name of the executable, lower case
    interpreter: str = ""  # its family
    script: str = ""  # path, module or class that the interpreter runs
    windows: str = ""  # path of the Windows program
    title: str = ""  # what a process wrote over its command line
    helper: str = ""  # which helper of a browser engine it is
    name: str = ""  # what lists are compared with


def read(exe: str, argv: Sequence[str], comm: str, loaders: Collection[str]) -> Words:
    """Words of a process. `loaders`: names of programs that start Windows programs, lower case."""
    argv = argv[:MAX_WORDS]
    path = live_path(exe) or (argv[0] if argv else "")
    program = unwrap(file_name(path).lower()) or comm.lower()
    return _read(program, argv, loaders, _DEPTH)


def _read(program: str, argv: Sequence[str], loaders: Collection[str], depth: int) -> Words:
    helper = helper_type(argv)
    windows = _windows(program, argv, loaders)
    if windows:
        return Words(program, "", "", windows, "", helper, file_name(windows).lower())
    kind = family(program)
    if not kind:
        name = program
        if program == "busybox" and argv:
            name = file_name(argv[0]).lower()
        return Words(program, "", "", "", "", helper, name)
    if argv and kind not in ("loader", "emulator") and _is_title(argv[0]):
        title = argv[0].strip()
        name = file_name(title.split(":", 1)[0].split(" ", 1)[0]).lower()
        return Words(program, kind, "", "", title, helper, name)
    at = script_at(kind, argv)
    script = argv[at] if at else ""
    if kind in ("loader", "emulator") and script and depth:
        inner = unwrap(file_name(script).lower())
        found = _read(inner, argv[at:], loaders, depth - 1)
        return Words(
            program,
            found.interpreter,
            found.script or script,
            found.windows,
            found.title,
            helper,
            found.name,
        )
    name = unwrap(file_name(script).lower()) if script else program
    return Words(program, kind, script, "", "", helper, name)


def helper_type(argv: Sequence[str]) -> str:
    """Return the kind of a browser engine's helper process; Chromium's zygotes join all words into one."""
    for word in argv[1:64]:
        if word.startswith("--type="):
            found = _CHROMIUM.match(word)
            return found[1] if found else ""
        if word == "-contentproc":
            return "contentproc"
    if len(argv) == 1 and " --type=" in argv[0][:4096]:
        found = _CHROMIUM.match(argv[0][:4096])
        return found[1] if found else ""
    return ""


def is_audio_service(argv: Sequence[str]) -> bool:
    """Return True if this is the process in which Chromium plays and records sound: its services/audio."""
    return "--utility-sub-type=audio.mojom.AudioService" in argv[1:64]


def _windows(program: str, argv: Sequence[str], loaders: Collection[str]) -> str:
    """The Windows program: argv[0], or for a Wine loader its first word that is one."""
    if not argv:
        return ""
    if argv[0].lower().endswith(".exe") and (
        "\\" in argv[0] or program in loaders or program.endswith(".exe")
    ):
        return argv[0]
    if program in loaders:
        return next((word for word in argv[1:16] if word.lower().endswith(".exe")), "")
    return ""


def _is_title(word: str) -> bool:
    """Return True if argv[0] is no interpreter's name: setproctitle and `$0 = …` write over the command line."""
    name = file_name(word.split(":", 1)[0].split(" ", 1)[0]).lstrip("-").lower()
    return bool(name) and not family(name) and (":" in word or " " in word.strip())


def script_at(kind: str, argv: Sequence[str]) -> int:
    """Index of the word that an interpreter runs; 0 for none."""
    options, ends = _OPTIONS[kind], _NO_SCRIPT.get(kind, frozenset())
    at = 1
    while at < len(argv):
        word = argv[at]
        if word in ends or (kind == "shell" and _is_command_flag(word)):
            return 0
        if word in ("-jar", "-m", "--module") and kind in ("java", "python"):
            return at + 1 if at + 1 < len(argv) else 0
        if word == "-conf" and kind == "dosbox":
            return at + 1 if at + 1 < len(argv) else 0
        if word == "--":
            return at + 1 if at + 1 < len(argv) else 0
        if word in options:
            at += 2
        elif word.startswith(("-", "+")) or _is_no_script(kind, word):
            at += 1
        else:
            return at if word else 0
    return 0


def _is_no_script(kind: str, word: str) -> bool:
    """An argument file of Java, dotnet's `exec`."""
    return (kind, word[:1]) == ("java", "@") or (kind, word) == ("dotnet", "exec")


def _is_command_flag(word: str) -> bool:
    """`-c` alone or among other letters: `sh -ec COMMAND`."""
    return (
        len(word) > 1
        and word[0] == "-"
        and word[1] != "-"
        and word[1:].isalpha()
        and "c" in word[1:]
    )


def counting(words: Words, argv: Sequence[str]) -> tuple[str, ...]:
    """The words that say what runs: argv[0], and the script or Windows program."""
    first = argv[:1]
    return tuple(dict.fromkeys((*first, *(w for w in (words.script, words.windows) if w))))

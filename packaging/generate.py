# SPDX-License-Identifier: GPL-2.0-or-later
"""Man pages and shell completions out of the commands and the configuration as they are: `generate.py FOLDER`."""

from __future__ import annotations

import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from scx_gamer import __version__
from scx_gamer.cli.app import build

TOP = Path(__file__).resolve().parents[1]
DATE = "November 21, 2026"
# REUSE-IgnoreStart: of the generated pages
LICENSE = "SPDX-License-Identifier: GPL-2.0-or-later"
# REUSE-IgnoreEnd


@dataclass(frozen=True)
class Option:
    flags: tuple[str, ...]
    argument: str  # empty for a switch
    help: str
    default: str


@dataclass(frozen=True)
class Command:
    """`path` without the program's name. `arguments` as usage shows them: (name, optional, many)."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[tuple[str, bool, bool], ...]

    @property
    def name(self) -> str:
        return " ".join(self.path)


def commands() -> list[Command]:
    """Every command, in the order of the help."""

    def walk(node: Any, path: tuple[str, ...]) -> Iterator[Command]:
        children = getattr(node, "commands", None)
        if children:
            for name, child in children.items():
                yield from walk(child, (*path, name))
            return
        options, arguments = [], []
        for parameter in node.params:
            if parameter.param_type_name == "argument":
                name = str(parameter.metavar or parameter.name).upper().rstrip(".")
                arguments.append((name, not parameter.required, parameter.nargs == -1))
            elif not getattr(parameter, "hidden", False):
                switch = bool(getattr(parameter, "is_flag", False))
                word = str(parameter.metavar or parameter.name).upper()
                default = parameter.default
                shown = "" if switch or default is None or callable(default) else str(default)
                flags = tuple(sorted(parameter.opts, key=len))
                text = str(parameter.help or "")
                options.append(Option(flags, "" if switch else word, text, shown))
        text = " ".join(str(node.help or "").split())
        yield Command(path, text, tuple(options), tuple(arguments))

    return list(walk(typer.main.get_command(build()), ()))


def roff(text: str) -> str:
    """Text that mdoc takes as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def sentences(text: str) -> str:
    """One sentence a line, as mdoc wants it."""
    found = re.split(r"(?<=[.!?]) +(?=[A-Z])", text)
    return "\n".join(roff(line) for one in found for line in textwrap.wrap(one, 72))


def usage(command: Command) -> list[str]:
    lines = [f".Cm {' '.join(roff(word) for word in command.path)}"]
    for option in command.options:
        flag = roff(option.flags[-1].removeprefix("-"))
        lines.append(f".Op Fl {flag}" + (f" Ar {option.argument}" if option.argument else ""))
    for name, optional, many in command.arguments:
        more = " ..." if many else ""
        lines.append(f".Op Ar {name}{more}" if optional else f".Ar {name}{more}")
    return lines


def exit_codes() -> list[tuple[str, str]]:
    """From the page that the tests hold against the code."""
    page = (TOP / "docs/cli.md").read_text()
    table = page[page.index("## Exit codes") :]
    return re.findall(r"^\| (\d+) \| (.+?) \|$", table, re.MULTILINE)


def plain(text: str) -> str:
    return text.replace("`", "")


def command_page(found: list[Command]) -> str:
    lines = [
        f'.\\" {LICENSE}',
        f".Dd {DATE}",
        ".Dt SCX-GAMER 1",
        ".Os",
        ".Sh NAME",
        ".Nm scx\\-gamer",
        ".Nd CPU scheduler for games, and what runs, watches and explains it",
        ".Sh SYNOPSIS",
    ]
    for command in found:
        lines += [".Nm", *usage(command)]
    lines += [
        ".Sh DESCRIPTION",
        ".Nm",
        sentences(
            "runs a sched_ext scheduler while a game runs: with the machine full of other work the"
            " game's threads come first, more so for a moment after each key, click or stick"
            " movement. When anything goes wrong, the kernel's own scheduler is back at once."
        ),
        ".Pp",
        "The commands are:",
        ".Bl -tag -width Ds",
    ]
    for command in found:
        lines += [f".It Xo {usage(command)[0].removeprefix('.')}"]
        for part in usage(command)[1:]:
            lines.append(part)
        lines += [".Xc", sentences(command.help)]
        if command.options:
            lines.append(".Bl -tag -width Ds -compact")
            for option in command.options:
                flags = " , ".join(f"Fl {roff(flag.removeprefix('-'))}" for flag in option.flags)
                lines.append(f".It {flags}" + (f" Ar {option.argument}" if option.argument else ""))
                text = sentences(option.help) or "See above."
                lines.append(
                    text + (f"\nThe default is {roff(option.default)}." if option.default else "")
                )
            lines.append(".El")
    lines += [".El", ".Sh FILES", ".Bl -tag -width Ds"]
    for path, text in (
        (
            "/etc/scx-gamer/config.toml",
            "What differs from the defaults; see\n.Xr scx-gamer-config 5 .",
        ),
        ("/etc/scx-gamer/conf.d/", "More of the same, read in the order of their names."),
        ("/run/scx-gamer/status.json", "What status answers, for programs."),
        ("/run/scx-gamer/hud", "One line for an overlay."),
        ("/var/lib/scx-gamer/state.json", "What holds over a restart."),
        ("/var/lib/scx-gamer/exits/", "Why the kernel ended the scheduler."),
    ):
        lines += [f".It Pa {path}", text]
    lines += [".El", ".Sh EXIT STATUS", ".Bl -tag -width Ds"]
    for code, text in exit_codes():
        lines += [f".It {code}", sentences(plain(text[0].upper() + text[1:]).rstrip(".") + ".")]
    lines += [".El", ".Sh SEE ALSO", ".Xr scx-gamer-config 5"]
    return "\n".join(lines) + "\n"


def settings() -> list[tuple[str, str, str]]:
    """(key, default, comment) of the shipped configuration; a comment stands above its key."""
    found: list[tuple[str, str, str]] = []
    table, comment = "", []
    values = tomllib.loads((TOP / "profiles/config.toml").read_text())
    for line in (TOP / "profiles/config.toml").read_text().splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif match := re.match(r"\[(\w+)\]", line):
            table, comment = match[1] + ".", []
        elif match := re.match(r"(\w+) = (.+)", line):
            value = (values[table[:-1]] if table else values)[match[1]]
            # a list may go on over several lines of the file
            shown = json.dumps(value) if isinstance(value, list) else match[2]
            found.append((table + match[1], shown, " ".join(comment)))
            comment = []
        elif not line.strip():
            comment = []
    return found


def limits() -> dict[str, tuple[str, str]]:
    """Lowest and highest value of each tunable, as the kernel side has them."""
    numbers = dict(
        re.findall(
            r"^\s*SCXG_(M(?:IN|AX)_\w+) = (\d+),", (TOP / "bpf/include/abi.h").read_text(), re.M
        )
    )
    names = {name.partition("_")[2] for name in numbers}
    return {
        f"tunables.{name.lower()}": (numbers[f"MIN_{name}"], numbers[f"MAX_{name}"])
        for name in names
        if f"MIN_{name}" in numbers and f"MAX_{name}" in numbers
    }


def settings_page() -> str:
    lines = [
        f'.\\" {LICENSE}',
        f".Dd {DATE}",
        ".Dt SCX-GAMER-CONFIG 5",
        ".Os",
        ".Sh NAME",
        ".Nm scx\\-gamer\\-config",
        ".Nd settings of scx-gamer",
        ".Sh DESCRIPTION",
        "The shipped file holds every key with its default.",
        "What differs is written to",
        ".Pa /etc/scx-gamer/config.toml ,",
        "or to a file in",
        ".Pa /etc/scx-gamer/conf.d/ .",
        "Later files win, key by key.",
        "An unknown key or a wrong value is refused with its file and line.",
        ".Bl -tag -width Ds",
    ]
    bounds = limits()
    for key, default, comment in settings():
        lines.append(f".It Va {key} No = {roff(default)}")
        text = sentences(comment)
        if key in bounds:
            low, high = bounds[key]
            text = f"{text}\nFrom {low} to {high}.".lstrip("\n")
        lines.append(text or "See the section's comment in the shipped file.")
    return "\n".join([*lines, ".El", ".Sh SEE ALSO", ".Xr scx-gamer 1"]) + "\n"


def flags(command: Command) -> list[str]:
    return [flag for option in command.options for flag in option.flags] + ["--help"]


def children(found: list[Command], path: tuple[str, ...]) -> list[tuple[str, str]]:
    """Next words after `path`, with the first help that fits."""
    words: dict[str, str] = {}
    for command in found:
        if command.path[: len(path)] == path and len(command.path) > len(path):
            word = command.path[len(path)]
            leaf = len(command.path) == len(path) + 1
            words.setdefault(word, command.help if leaf else f"{word}: more commands")
    return list(words.items())


def groups(found: list[Command]) -> list[tuple[str, ...]]:
    return sorted({command.path[:n] for command in found for n in range(len(command.path))})


def bash(found: list[Command]) -> str:
    cases = []
    for path in groups(found):
        words = " ".join(word for word, _ in children(found, path))
        cases.append(f"\t'{' '.join(path)}') words='{words} --help' ;;")
    for command in found:
        cases.append(f"\t'{command.name}') words='{' '.join(flags(command))}' ;;")
    return (
        f"# {LICENSE}\n"
        "_scx_gamer() {\n"
        "\tlocal word path='' words='' i\n"
        "\tCOMPREPLY=()\n"
        "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
        "\t\tword=${COMP_WORDS[i]}\n"
        '\t\tif [ "$word" = -- ]; then\n'
        "\t\t\tcompopt -o default 2>/dev/null\n\t\t\treturn\n\t\tfi\n"
        "\t\tcase $word in -*) continue ;; esac\n"
        '\t\tcase " $(_scx_gamer_words "$path") " in *" $word "*) path="${path:+$path }$word" ;; esac\n'
        "\tdone\n"
        '\twords=$(_scx_gamer_words "$path")\n'
        '\tmapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")\n'
        "\t[ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default 2>/dev/null\n"
        "}\n"
        "_scx_gamer_words() {\n\tlocal words=''\n\tcase $1 in\n"
        + "\n".join(cases)
        + '\n\tesac\n\techo "$words"\n}\n'
        "complete -F _scx_gamer scx-gamer\n"
    )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def zsh(found: list[Command]) -> str:
    cases = []
    for path in groups(found):
        rows = " ".join(quoted(f"{w}:{t.replace(':', ' -')}") for w, t in children(found, path))
        cases.append(f"\t{quoted(' '.join(path))}) rows=({rows}) ;;")
    for command in found:
        rows = " ".join(
            quoted(f"{flag}:{option.help.replace(':', ' -')}")
            for option in command.options
            for flag in option.flags
        )
        cases.append(f"\t{quoted(command.name)}) rows=({rows} '--help:Show help') ;;")
    return (
        f"#compdef scx-gamer\n# {LICENSE}\n"
        "_scx_gamer_rows() {\n\trows=()\n\tcase $1 in\n" + "\n".join(cases) + "\n\tesac\n}\n"
        "_scx_gamer() {\n"
        "\tlocal at='' word i\n\tlocal -a rows\n"
        "\tfor ((i = 2; i < CURRENT; i++)); do\n"
        "\t\tword=${words[i]}\n"
        "\t\tif [[ $word == -- ]]; then _normal; return; fi\n"
        '\t\t_scx_gamer_rows "$at"\n'
        '\t\tif [[ -n ${(M)rows:#$word:*} && $word != -* ]]; then at="${at:+$at }$word"; fi\n'
        "\tdone\n"
        '\t_scx_gamer_rows "$at"\n'
        "\t_describe -t commands 'scx-gamer' rows || _files\n"
        "}\n"
        '_scx_gamer "$@"\n'
    )


def fish(found: list[Command]) -> str:
    lines = [
        f"# {LICENSE}",
        "function __scx_gamer_path",
        "    for token in (commandline -opc)[2..-1]",
        "        string match -q -- '-*' $token; or echo $token",
        "    end",
        "end",
        "function __scx_gamer_here --description 'Exactly these words came before'",
        "    set -l path (__scx_gamer_path)",
        '    test "$path" = "$argv"',
        "end",
        "function __scx_gamer_under --description 'These words came first'",
        "    set -l path (__scx_gamer_path)",
        "    set -l first $path[1..(count $argv)]",
        '    test "$first" = "$argv"',
        "end",
        "complete -c scx-gamer -f",
    ]
    for path in groups(found):
        for word, text in children(found, path):
            lines.append(
                f"complete -c scx-gamer -n '__scx_gamer_here {' '.join(path)}' -a {word} -d {quoted(text)}"
            )
    for command in found:
        for option in command.options:
            long = next((f[2:] for f in option.flags if f.startswith("--")), "")
            short = next((f[1:] for f in option.flags if re.fullmatch(r"-\w", f)), "")
            words = f" -l {long}" * bool(long) + f" -s {short}" * bool(short)
            needs = " -r" if option.argument else ""
            lines.append(
                f"complete -c scx-gamer -n '__scx_gamer_under {command.name}'{words}{needs} -d {quoted(option.help)}"
            )
    return "\n".join(lines) + "\n"


def main(folder: Path) -> int:
    found = commands()
    pages = {
        "scx-gamer.1": command_page(found),
        "scx-gamer-config.5": settings_page(),
        "scx-gamer.bash": bash(found),
        "scx-gamer.zsh": zsh(found),
        "scx-gamer.fish": fish(found),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text)
    print(f"scx-gamer {__version__}: {len(found)} commands in {', '.join(pages)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

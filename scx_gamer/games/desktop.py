# SPDX-License-Identifier: GPL-2.0-only
"""Native games by desktop entry: Categories contains Game, Exec names the program."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

MAX_ENTRY_BYTES = 256 * 1024
# A desktop entry of Category Game that starts one of these starts a launcher or an interpreter.
NOT_A_PROGRAM = frozenset(
    {"env", "sh", "bash", "flatpak", "steam", "lutris", "heroic", "python3", "wine", "gamemoderun"}
)
SEARCH = "/usr/games:/usr/local/games:/usr/local/bin:/usr/bin:/bin"


def folders() -> list[Path]:
    """Where this machine's entries are: the system's, Flatpak's and snap's exports, each user's."""
    named = os.environ.get("SCX_GAMER_DESKTOP_DIRS")
    if named is not None:
        return [Path(name) for name in named.split(":") if name]
    fixed = (
        "/usr/share/applications",
        "/usr/local/share/applications",
        "/var/lib/flatpak/exports/share/applications",
        "/var/lib/snapd/desktop/applications",
    )
    homes = sorted(Path("/home").glob("*/.local/share"))
    own = [h / "applications" for h in homes]
    flatpak = [h / "flatpak/exports/share/applications" for h in homes]
    return [*map(Path, fixed), *own, *flatpak]


def parse_entry(text: str) -> tuple[str, str] | None:
    """Desktop entry text → (name, first word of Exec) if it is a game's, else None.

    For what Flatpak runs the word is `flatpak:` and the application's id.
    """
    section, keys = "", dict[str, str]()
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == "Desktop Entry" and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys.setdefault(key.strip(), value.strip())
    if (
        "Game" not in keys.get("Categories", "").split(";")
        or keys.get("Type", "Application") != "Application"
    ):
        return None
    try:
        words = shlex.split(keys.get("Exec", ""))
    except ValueError:
        return None
    name = keys.get("Name", words[0] if words else "")
    if words and _file(words[0]) == "flatpak" and words[1:2] == ["run"]:
        app = next((w for w in words[2:] if not w.startswith("-")), "")
        return (name, f"flatpak:{app}") if app else None
    if not words or _file(words[0]) in NOT_A_PROGRAM:
        return None
    return name, words[0]


def flatpak_command(text: str) -> str | None:
    """The program that a Flatpak's entry starts inside: `--command=` of its Exec line."""
    for line in text.splitlines():
        if line.startswith("Exec=") and "flatpak" in line:
            return next((w[10:] for w in line.split() if w.startswith("--command=")), None)
    return None


def _program(word: str) -> str | None:
    """The path that an Exec line means; None when there is no such program."""
    if not word.startswith("/"):
        return shutil.which(word, path=SEARCH)
    try:
        # access() would ask for the real user, whom a home is closed to, and forget our capabilities
        mode = os.stat(word).st_mode
    except (OSError, ValueError):
        return None
    return word if stat.S_ISREG(mode) and mode & 0o111 else None


def _file(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def desktop_games(places: Iterable[Path]) -> tuple[dict[str, str], frozenset[str]]:
    """What the readable game entries name: executable path, or `flatpak:ID`, → the entry's name; and the file names
    of the programs. Links are resolved as `/proc/PID/exe` shows them."""
    found: dict[str, str] = {}
    programs: set[str] = set()
    for folder in places:
        for path in sorted(folder.glob("*.desktop")):
            try:
                with path.open("rb") as file:
                    text = file.read(MAX_ENTRY_BYTES).decode("utf-8", "replace")
            except OSError:
                continue
            entry = parse_entry(text)
            if entry is None:
                continue
            name, word = entry
            if word.startswith("flatpak:"):
                found.setdefault(word, name)
                programs.add(_file(flatpak_command(text) or ""))
                continue
            program = _program(word)
            if program is not None:
                resolved = str(Path(program).resolve())
                found.setdefault(program, name)
                found.setdefault(resolved, name)
                programs |= {_file(program), _file(resolved)}
    return found, frozenset(programs - {""})

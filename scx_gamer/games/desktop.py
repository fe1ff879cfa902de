# SPDX-License-Identifier: GPL-2.0-only
"""Native games by desktop entry: Categories contains Game, Exec names the program."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

MAX_ENTRY_BYTES = 256 * 1024
# A desktop entry of Category Game that starts one of these starts a launcher or an interpreter.
NOT_A_PROGRAM = frozenset(
    {"env", "sh", "bash", "flatpak", "steam", "lutris", "heroic", "python3", "wine", "gamemoderun"}
)


def parse_entry(text: str) -> tuple[str, str] | None:
    """Desktop entry text → (name, first word of Exec) if it is a game's, else None."""
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
    if not words or words[0].rsplit("/", 1)[-1] in NOT_A_PROGRAM:
        return None
    return keys.get("Name", words[0]), words[0]


def desktop_games(folders: Iterable[Path]) -> dict[str, str]:
    """Executable path → entry's name, for every readable game entry; links resolved as `/proc/PID/exe` shows them."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.desktop")):
            try:
                with path.open("rb") as file:
                    entry = parse_entry(file.read(MAX_ENTRY_BYTES).decode("utf-8", "replace"))
            except OSError:
                continue
            if entry is None:
                continue
            name, word = entry
            program = shutil.which(
                word, path="/usr/games:/usr/local/games:/usr/local/bin:/usr/bin:/bin"
            )
            if program is not None:
                found.setdefault(program, name)
                found.setdefault(str(Path(program).resolve()), name)
    return found

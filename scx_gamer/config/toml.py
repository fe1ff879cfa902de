# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounded reading of TOML files, with the line of each key for error messages."""

from __future__ import annotations

import difflib
import functools
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import BAD_CONFIG
from scx_gamer.system.text import printable

MAX_BYTES = 1 << 20
_MAX_LINES = 20_000  # searched for a key; the shipped files have about a hundred
_MAX_STATEMENT = 200  # lines of one value
_MAX_NESTING = 8  # tables searched for a key


class ConfigError(ScxGamerError):
    """An unusable file. str() is one line: file and line, what is wrong with which key, what to write instead."""

    separator = "; "
    code = BAD_CONFIG

    def __init__(self, where: str, what: str, hint: str, errno: int = 0) -> None:
        super().__init__(f"{where}: {what}", errno, hint)
        self.where = where
        self.what = what


@dataclass(frozen=True)
class Document:
    """A parsed file. `shown` is its printable name."""

    shown: str
    tree: dict[str, object]
    text: str

    def place(self, *keys: str) -> str:
        """Return `file:line` of a key, or of the innermost enclosing table if the key has no line of its own."""
        lines = _positions(self.text)
        while keys and keys not in lines:
            keys = keys[:-1]
        return f"{self.shown}:{lines.get(keys, 1)}"


def read(path: Path, max_bytes: int = MAX_BYTES) -> Document:
    """Read a file. Raises ConfigError if it is unreadable, too large, not UTF-8 or not TOML."""
    shown = printable(str(path))
    try:
        # O_NONBLOCK: opening a FIFO without a writer must not block.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb") as file:
            raw = file.read(max_bytes + 1) or b""
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(raw) > max_bytes:
        size = f"{max_bytes >> 10} KiB" if max_bytes < 1 << 20 else f"{max_bytes >> 20} MiB"
        raise ConfigError(shown, f"is larger than {size}", "this is not a configuration file")
    return parse(raw, shown)


def parse(raw: bytes, shown: str) -> Document:
    """Parse a file's content. Raises ConfigError."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown}:{line}", "is not UTF-8", "save the file as UTF-8") from error
    try:
        return Document(shown, tomllib.loads(text), text)
    except RecursionError as error:
        raise ConfigError(shown, "is nested too deeply", "write each table as [NAME]") from error
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise _not_toml(shown, error) from error


def names_in(folder: Path) -> list[str]:
    """Return the names of all files; none without the folder. Raises ConfigError."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def drop_ins(*folders: Path) -> list[Path]:
    """Return drop-ins in the order of their names. A later folder's masks that of the same name. Raises ConfigError."""
    found: dict[str, Path] = {}
    for folder in folders:
        names = (n for n in names_in(folder) if n.endswith(".toml") and n[0] != ".")
        found.update({name: folder / name for name in names})
    return [found[name] for name in sorted(found)]


def _unreadable(path: Path, error: OSError) -> ConfigError:
    """Return the ConfigError of a file or directory that could not be read."""
    reason = error.strerror or "read error"
    return ConfigError(printable(str(path)), reason, "make it readable", error.errno or 0)


def _not_toml(shown: str, error: ValueError) -> ConfigError:
    message = str(error)
    match = re.search(r"\(at line (\d+), column (\d+)\)$", message)
    if match:
        what = printable(message[: match.start()].strip())
        return ConfigError(f"{shown}:{match[1]}", f"is not TOML: {what}", f"see column {match[2]}")
    return ConfigError(
        shown, f"is not TOML: {printable(message)}", 'write lines such as mode = "auto"'
    )


@functools.lru_cache(maxsize=4)
def _positions(text: str) -> dict[tuple[str, ...], int]:
    """Return key -> line of a valid TOML text, by parsing each statement separately."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    pending: list[str] = []
    first = 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n")[:_MAX_LINES], 1):
        if not pending:
            first = number
        pending.append(line)
        chunk = "\n".join(pending)
        try:
            tree = tomllib.loads(chunk)
        except (ValueError, RecursionError):  # the statement continues in the next line
            if len(pending) > _MAX_STATEMENT:
                pending.clear()
            continue
        pending.clear()
        if chunk.lstrip().startswith("["):
            table = ()
            for path in _paths(tree):
                table = path
                found.setdefault(path, first)
        else:
            for path in _paths(tree):
                found.setdefault(table + path, first)
    return found


def _paths(tree: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every key of nested tables, outer keys first."""
    if isinstance(tree, list) and tree and isinstance(tree[0], dict):
        tree = tree[0]
    if isinstance(tree, dict) and len(above) < _MAX_NESTING:
        for key, value in tree.items():
            yield (*above, key)
            yield from _paths(value, (*above, key))


def value_text(value: object) -> str:
    """Return a value in short TOML notation, for an error message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        shown = ("a list" if isinstance(one, list) else value_text(one) for one in value[:4])
        return printable(f"[{', '.join(shown)}]", 96)
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a very large number"
    return printable(f'"{value}"' if isinstance(value, str) else str(value), 64)


def suggest(key: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known key, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(key[:64], names, n=1, cutoff=0.6)
    if not close:  # the right name in the wrong table
        last = key[:64].rpartition(".")[2]
        close = [k for k in names if k.rpartition(".")[2] == last][:1]
    if close:
        return f"did you mean {close[0]}?"
    return "known keys: " + ", ".join(names)

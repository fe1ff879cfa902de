# SPDX-License-Identifier: GPL-2.0-only
"""README and docs name only paths, make targets, commands and limits that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from scx_gamer.cli.app import build
from scx_gamer.config.settings import load

TOP = Path(__file__).resolve().parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
_IDS = [page.name for page in PAGES]


def commands() -> dict[str, str]:
    """Return the help of every command, such as `status` and `games list`."""

    def walk(group: object, prefix: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, command in getattr(group, "commands", {}).items():
            found |= walk(command, f"{prefix}{name} ") or {prefix + name: command.help or ""}
        return found

    return walk(typer.main.get_command(build()), "")


def code(page: Path) -> list[str]:
    """Return the code spans and the lines of fenced blocks of a page."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", rest) + [
        line.split("#")[0].strip() for block in fenced for line in block.splitlines()
    ]


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_commands_exist(page: Path) -> None:
    known = commands()
    for piece in code(page):
        match = re.match(r"(?:sudo )?(?:build/venv/bin/)?scx-gamer ([a-z].*)", piece)
        if match:
            words = match[1].split()
            assert {words[0], " ".join(words[:2])} & known.keys(), piece


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_make_targets_exist(page: Path) -> None:
    makefile = "".join(
        p.read_text()
        for p in (TOP / "Makefile", *TOP.glob("scx_gamer/*/build.mk"), *TOP.glob("packaging/*.mk"))
    )
    targets = set()
    for names in re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE):
        targets |= set(names.split())
    for piece in code(page):
        for name in re.findall(r"^make ([a-z-]+)", piece):
            assert name in targets, piece


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_paths_exist(page: Path) -> None:
    first = {entry.name for entry in TOP.iterdir()} - {"build"}
    for piece in code(page):
        path, _, test = (piece.split()[0] if piece.split() else "").partition("::")
        if "/" in path and path.split("/")[0] in first and "*" not in path:
            assert (TOP / path).exists(), piece
            assert not test or f"\ndef {test}(" in (TOP / path).read_text(), piece


def test_cli_page_lists_every_command_with_its_help() -> None:
    page = (TOP / "docs/cli.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| ([A-Z].*?)(?: See `[^`]+`\.)? \|$", page, re.MULTILINE)
    listed = {
        " ".join(re.findall(r"[a-z][a-z-]*", re.split(r" (?=\[|--|[A-Z])", row)[0])): text
        for row, text in rows
    }
    assert listed == {name: " ".join(text.split()) for name, text in commands().items()}


def test_cli_page_has_the_limits_of_the_abi() -> None:
    abi = (TOP / "bpf/include/abi.h").read_text()
    known = dict(re.findall(r"^\s*(SCXG_\w+) = (\d+),", abi, re.MULTILINE))
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \|$",
        (TOP / "docs/cli.md").read_text(),
        re.MULTILINE,
    )
    wanted = {
        (name, *(known[f"SCXG_{kind}_{name.upper()}"] for kind in ("DEF", "MIN", "MAX")))
        for name in load(TOP).tunables
    }
    assert set(rows) == wanted

# SPDX-License-Identifier: GPL-2.0-or-later
"""README and docs name only paths, make targets, commands and limits that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from scx_gamer.bench import pairs
from scx_gamer.bench.workload import BenchError
from scx_gamer.cli import main
from scx_gamer.cli.app import build
from scx_gamer.config.settings import load
from scx_gamer.control.operations import OPERATIONS
from scx_gamer.leakcheck.check import _CODES
from scx_gamer.system import exit_codes

TOP = Path(__file__).resolve().parents[2]
PAGES = [
    *(TOP / f"{n}.md" for n in ("README", "SECURITY", "CONTRIBUTING")),
    *sorted((TOP / "docs").glob("*.md")),
]
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


def exit_table(page: str) -> list[tuple[int, str]]:
    """Rows of the first table of exit codes on a page."""
    text = (TOP / "docs" / page).read_text()
    return [(int(n), what) for n, what in re.findall(r"^\| (\d+) \| (.+?) \|$", text, re.M)]


def test_the_exit_codes_are_those_of_the_code() -> None:
    known = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert {code for code, _ in exit_table("cli.md")} == known
    assert [code for code, _ in exit_table("leakcheck.md")] == sorted(_CODES.values())
    assert (
        "`leakcheck` answers 1 for a leak that it names and 2" in (TOP / "docs/cli.md").read_text()
    )


def test_a_wrong_name_is_usage_and_a_missing_kernel_unsupported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profiles", "show", "nosuch"]) == exit_codes.USAGE
    assert main(["profiles", "diff", "nosuch"]) == exit_codes.USAGE
    monkeypatch.setattr(pairs, "need_root", lambda: None)
    monkeypatch.setattr(pairs, "kernel_has_sched_ext", lambda: False)
    with pytest.raises(BenchError) as refused, pairs._stage():
        pass
    assert refused.value.exit_code == exit_codes.UNSUPPORTED


def test_no_supervisor_is_started_by_its_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path))
    assert main(["status"]) == exit_codes.NOT_RUNNING
    assert "`sudo systemctl start scx-gamer`" in capsys.readouterr().err


def test_the_bus_page_names_every_question() -> None:
    text = (TOP / "docs/dbus.md").read_text()
    row = re.search(r"^\| `Query\(s what\)` .*: ([a-z, ]+)\. \|$", text, re.M)
    assert row is not None
    assert set(row[1].split(", ")) == {name for name, spec in OPERATIONS.items() if spec.query}


def test_every_setting_says_what_it_means() -> None:
    """The comment above a key is also its text in the man page."""
    lines = (TOP / "profiles/config.toml").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    silent = [lines[n] for n in keys if not lines[n - 1].startswith("#") and "port" not in lines[n]]
    silent = [line for line in silent if not line.startswith("up = ")]  # with `down`, above it
    assert silent == []


def test_the_build_needs_what_the_page_says() -> None:
    control = (TOP / "packaging/debian/control").read_text()
    needed = re.search(r"^Build-Depends: (.*?)^Standards", control, re.M | re.S)
    assert needed is not None
    page = (TOP / "docs/install.md").read_text()
    build = re.search(r"to build: (.*?)\. To run:", page, re.S)
    assert build is not None
    names = {re.split(r"[ (]", one.strip())[0] for one in needed[1].split(",")}
    for name in names - {"debhelper-compat", "dh-python", "dh-sequence-python3"}:
        short = name.removeprefix("python3-").removesuffix("-dev").replace("python3", "Python")
        assert short in build[1] or name in build[1], name


def test_the_readme_s_figures_are_of_the_table() -> None:
    tuning = (TOP / "docs/tuning.md").read_text()
    rows = re.search(r"^\| hogs-2, few \| (\d+) → (\d+) % \| ([\d.]+) → ([\d.]+) \([\d.]+\) \|"
                     r" ([\d.]+) → ([\d.]+) \([\d.]+\) \| ([\d.]+) → ([\d.]+) \([\d.]+\) \| ([\d.]+) / ([\d.]+) \|",
                     tuning, re.MULTILINE)  # fmt: skip
    assert rows
    default, ours = ([rows[n] for n in range(first, 9, 2)] for first in (1, 2))
    readme = (TOP / "README.md").read_text()
    for name, (on_time, frame, low, wait) in (("the kernel's own", default), ("scx_gamer", ours)):
        figures = f"{on_time} % | {frame} ms | {low} fps | {wait} us |"
        assert re.search(rf"^\| {name}[\w ]* \| {re.escape(figures)}$", readme, re.MULTILINE)
    assert re.search(
        rf"^\| the game as SCHED_RR.* \| \| {rows[9]} ms \| \| {rows[10]} us \|$", readme, re.M
    )


@pytest.mark.parametrize(
    ("script", "picture"), [("figure.py", "result.svg"), ("placement.py", "placement.svg")]
)
def test_a_picture_is_what_its_script_draws(script: str, picture: str) -> None:
    made = subprocess.run(
        [sys.executable, str(TOP / "docs" / script)], capture_output=True, text=True, check=True
    )
    assert made.stdout == (TOP / "docs" / picture).read_text(), f"run docs/{script}"


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("https://", "mailto:")):
            assert (page.parent / target).exists(), target

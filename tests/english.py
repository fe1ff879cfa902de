#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Lint for the English of the sources and for commit subjects.

tests/english.py [FILE …]    Without arguments: every Python source of the tree, then the commits since FIRST_SUBJECT.

A docstring, help text or message must not open with a free relative clause ("What was read", "Who asks"): it names the
thing instead. A commit subject is `area: imperative` and has at most 72 characters.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
FOLDERS = ("scx_gamer", "tests", "packaging")
# Calls whose first text is a message to users: exceptions are found by `raise`, options by `help=`.
MESSAGE_CALLS = frozenset(
    {"debug", "info", "warning", "error", "exception", "critical", "echo", "exit", "print"}
)
# Calls of which every text is a help text: rows of the command table.
HELP_CALLS = frozenset({"Command", "Option"})
_PRONOUNS = "what who whom whose which where when why how"
_FREE_RELATIVE = re.compile(
    rf"\W*(?:{'|'.join(_PRONOUNS.split())})(?:ever)?(?=[\s'\u2019])", re.IGNORECASE
)

# Older commits were written before the rule.
FIRST_SUBJECT = "tree: move the modules into packages by subject"
LONGEST_SUBJECT = 72
_SUBJECT = re.compile(r"[a-z0-9][a-z0-9_./-]*: \S.*(?<!\.)")


def opens_with_free_relative(text: str) -> bool:
    """Return True if `text` opens with what, who, where, how… A question may: it ends its line with a question mark."""
    first = text.strip().partition("\n")[0].rstrip()
    return bool(_FREE_RELATIVE.match(text)) and not first.endswith("?")


def texts(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each docstring, `help=` text and message in `module`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if docstring := ast.get_docstring(node):
                yield node.body[0].lineno, docstring
        elif isinstance(node, ast.keyword) and node.arg in ("help", "short_help", "epilog"):
            yield from _leading_text(node.value)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args:
                yield from _leading_text(argument)
        elif isinstance(node, ast.Call) and _called(node.func) in MESSAGE_CALLS and node.args:
            yield from _leading_text(node.args[0])
        elif isinstance(node, ast.Call) and _called(node.func) in HELP_CALLS:
            for argument in node.args:
                yield from _leading_text(argument)


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _leading_text(node: ast.expr) -> Iterator[tuple[int, str]]:
    """Yield the text with which the string that `node` builds begins."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    elif isinstance(node, ast.BinOp):
        yield from _leading_text(node.left)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value


def findings(path: Path, source: bytes) -> list[str]:
    """Return one line for each text in `source` that opens with a free relative clause."""
    return [
        f"{path}:{line}: opens with a free relative clause: {text.strip().partition(chr(10))[0][:80]}"
        for line, text in texts(ast.parse(source))
        if opens_with_free_relative(text)
    ]


def sources() -> Iterator[Path]:
    """Yield the Python files of the tree, with or without a suffix."""
    for folder in FOLDERS:
        for path in sorted((TREE / folder).rglob("*")):
            if path.suffix == ".py" or (not path.suffix and _is_script(path)):
                yield path


def _is_script(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        line = file.readline(64)
    return line.startswith(b"#!") and b"python" in line


def subject_error(subject: str) -> str | None:
    """Return the rule that a commit subject breaks, or None."""
    if len(subject) > LONGEST_SUBJECT:
        return f"{len(subject)} characters, at most {LONGEST_SUBJECT}"
    if not _SUBJECT.fullmatch(subject):
        return "is not `area: imperative` without a full stop"
    return None


def since_first(subjects: Iterable[str]) -> list[str]:
    """Return the subjects that the rule covers, of all of them newest first."""
    covered = []
    for subject in subjects:
        if subject == FIRST_SUBJECT:
            break
        covered.append(subject)
    return covered


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], cwd=TREE, capture_output=True, text=True, errors="replace"
    )


def commit_findings() -> list[str]:
    """Return one line for each commit subject that breaks the rule. Merges are git's own text."""
    if not (TREE / ".git").exists():
        print("commit subjects were not checked: this tree is not a git clone")
        return []
    # Status 1: the branch has no commit yet. Any other failure, say of ownership, must not pass.
    if git("rev-parse", "--verify", "-q", "HEAD").returncode == 1:
        print("commit subjects were not checked: git has no commits here")
        return []
    log = git("log", "--no-merges", "--format=%s")
    if log.returncode:
        return [f"git log failed with status {log.returncode}: {log.stderr.strip()}"]
    covered = since_first(log.stdout.splitlines())
    print(f"{len(covered)} commit subjects checked")
    return [f"commit {s!r}: {error}" for s in covered if (error := subject_error(s))]


def main(named: list[str]) -> int:
    paths = [Path(n) for n in named] or list(sources())
    found: list[str] = []
    for path in paths:
        shown = path.relative_to(TREE) if path.is_relative_to(TREE) else path
        found += findings(shown, path.read_bytes())
    print(f"{len(paths)} files checked")
    if not named:
        found += commit_findings()
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

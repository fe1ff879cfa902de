# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/english.py finds the openings and the commit subjects that it must, and no others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import english

ALL_KINDS = b'''"""What a module is for."""
class Reader:
    """Who reads."""
    def read(self):
        """How much there is."""
        log.warning("where it was: %s", x)
        raise ValueError(f"what {x} said")
    async def close(self):
        """  When it ends."""
option = Option(help="Whose file to read.")
typer.echo("whatever there is " + name)
row = Command("a", "m:a", "What a is.")
'''


def test_each_kind_of_text_is_found() -> None:
    found = english.findings(Path("f.py"), ALL_KINDS)
    assert sorted(int(line.split(":")[1]) for line in found) == [1, 3, 5, 6, 7, 9, 10, 11, 12]


@pytest.mark.parametrize(
    "text",
    [
        "Return the name.",
        "Whether",
        "Whole pages only.",
        "Whatsoever",
        "Whisper to the kernel.",
        "What does the kernel do with a hog?",
    ],
)
def test_other_openings_pass(text: str) -> None:
    assert english.opens_with_free_relative(text) is False


def test_scripts_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("run", "#!/usr/bin/env python3"), ("sh", "#!/bin/sh"), ("m.py", "")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(english, "TREE", tmp_path.parent)
    monkeypatch.setattr(english, "FOLDERS", (tmp_path.name,))
    assert [path.name for path in english.sources()] == ["m.py", "run"]


@pytest.mark.parametrize(
    "subject", ["tests/soak: restore the memory slope bound", "sched: " + 65 * "x", "bpf_2: a"]
)
def test_subjects_that_pass(subject: str) -> None:
    assert english.subject_error(subject) is None


@pytest.mark.parametrize(
    "subject",
    [
        "Restore the bound",
        "sched restore",
        "Sched: restore",
        "sched:restore",
        "sched: ",
        ": restore",
        "sched: restore the bound.",
        "sched: " + 66 * "x",
    ],
)
def test_subjects_that_fail(subject: str) -> None:
    assert english.subject_error(subject)


def test_older_subjects_are_not_judged() -> None:
    newest_first = ["b: two", "One", english.FIRST_SUBJECT, "Older"]
    assert english.since_first(newest_first) == ["b: two", "One"]


def repository(folder: Path, *subjects: str) -> None:
    def run(*command: str) -> None:
        author = ("-c", "user.name=t", "-c", "user.email=t@t")
        subprocess.run(["git", *author, *command], cwd=folder, check=True)

    run("init", "-q")
    for subject in subjects:
        run("commit", "-q", "--allow-empty", "-m", subject)


@pytest.mark.parametrize(
    ("subjects", "bad", "said"),
    [
        ((), 0, "were not checked"),
        (("Old", english.FIRST_SUBJECT, "a: good"), 0, "1 commit subjects"),
        (("Old", english.FIRST_SUBJECT, "Bad", "a: good"), 1, "2 commit subjects"),
        # A clone without the older history: each commit that is there counts.
        (("Bad", "a: good"), 1, "2 commit subjects"),
    ],
)
def test_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    subjects: tuple[str, ...], bad: int, said: str,
) -> None:  # fmt: skip
    repository(tmp_path, *subjects)
    monkeypatch.setattr(english, "TREE", tmp_path)
    assert len(english.commit_findings()) == bad
    assert said in capsys.readouterr().out


def test_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(english, "TREE", tmp_path)
    assert english.commit_findings() == []
    assert "were not checked" in capsys.readouterr().out


def test_a_history_that_git_refuses_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    monkeypatch.setattr(english, "TREE", tmp_path)
    assert "git log failed" in english.commit_findings()[0]

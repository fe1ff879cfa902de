# SPDX-License-Identifier: GPL-2.0-or-later
"""setup, as far as no systemd is needed: who called, and when nothing is touched. tests/vm/pages has the rest."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from scx_gamer import doctor
from scx_gamer.cli import main, setup
from scx_gamer.doctor.model import FAIL, OK, WARN, Finding, Report
from scx_gamer.system.exit_codes import BAD_CONFIG, FAILED, NO_PERMISSION


@pytest.fixture(autouse=True)
def _no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in setup._CALLERS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("SUDO_UID", str(pwd.getpwnam("nobody").pw_uid), "nobody"),
        ("PKEXEC_UID", str(pwd.getpwnam("nobody").pw_uid), "nobody"),
        ("DOAS_USER", "nobody", "nobody"),
        ("SUDO_UID", "0", None),
        ("DOAS_USER", "root", None),
        ("SUDO_UID", "4294967295", None),
        ("SUDO_UID", "9" * 40, None),
        ("SUDO_UID", "-1", None),
        ("SUDO_UID", "\u0664", None),
        ("DOAS_USER", "../../etc", None),
        ("SUDO_UID", "", None),
    ],
)
def test_the_caller_is_an_ordinary_user_or_unknown(
    variable: str, value: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    found = setup.caller()
    assert (found.pw_name if found else None) == name


def test_an_ordinary_user_is_told_what_to_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["setup", "--dry-run"]) == NO_PERMISSION
    assert "run: sudo scx-gamer setup" in capsys.readouterr().err


def test_without_systemd_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup, "BOOTED", tmp_path / "absent")
    assert main(["setup"]) == FAILED
    assert "systemd does not run here; have your init start" in capsys.readouterr().err


@pytest.mark.parametrize(("own", "code"), [(BAD_CONFIG, BAD_CONFIG), (0, FAILED)])
def test_a_failure_of_doctor_changes_nothing(
    own: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings = (
        Finding(OK, "kernel", "fine"),
        Finding(WARN, "governor", "powersave", "choose another"),
        Finding(FAIL, "configuration", "slice: unknown key", "remove it", own),
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup, "BOOTED", tmp_path)
    monkeypatch.setattr(doctor, "examine", lambda: Report(findings))
    monkeypatch.setattr(setup.Manager, "switch_on", None)  # a call would be a TypeError
    assert main(["setup"]) == code
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "doctor: scx-gamer does not work here: configuration; 1 checks are fine",
        "left: configuration: remove it",
        "left: governor: choose another",
    ]
    assert "nothing was switched on; mend that" in said.err

# SPDX-License-Identifier: GPL-2.0-only
"""doctor: each finding says what to do; the gravest decides the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from scx_gamer import doctor, kernelstate
from scx_gamer.doctor import Finding, Report
from scx_gamer.libbpf import BpfError

TOP = Path(__file__).resolve().parents[2]
GOOD = """
CONFIG_SCHED_CLASS_EXT=y
CONFIG_BPF_SYSCALL=y
CONFIG_BPF_JIT=y
CONFIG_DEBUG_INFO_BTF=y
"""


def test_missing_options() -> None:
    assert doctor.missing_options(GOOD) == []
    text = GOOD.replace("CONFIG_SCHED_CLASS_EXT=y", "# CONFIG_SCHED_CLASS_EXT is not set")
    assert doctor.missing_options(text) == ["CONFIG_SCHED_CLASS_EXT"]
    assert doctor.missing_options("CONFIG_BPF_JIT=yes") == [*doctor._OPTIONS]


def test_the_gravest_failure_is_the_exit_status() -> None:
    permission = Finding("fail", "a", "b", "c", 77)
    unsupported = Finding("fail", "a", "b", "c", 69)
    warning = Finding("warn", "a", "b", "c", 78)
    assert Report(()).exit_code == 0
    assert Report((warning,)).exit_code == 0
    assert Report((permission, warning)).exit_code == 77
    assert Report((permission, unsupported)).exit_code == 69


def test_renicers_are_found_by_name(tmp_path: Path) -> None:
    for pid, comm in (("10", "ananicy-cpp\n"), ("11", "system76-schedu\n"), ("12", "bash\n")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(comm)
    (tmp_path / "13").mkdir()  # ended between the two reads
    found = list(doctor.renicers(tmp_path))
    assert [finding.what.split()[0] for finding in found] == ["ananicy-cpp", "system76-scheduler"]
    assert all(finding.level == "warn" and finding.to_do for finding in found)


def test_another_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelstate, "loaded", lambda: "scx_other\x1b")
    (found,) = doctor.other_scheduler()
    assert (found.level, found.code) == ("fail", 77)
    assert "scx_other\\x1b is loaded" in found.what


def test_a_bad_configuration_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("mode = 3\n")
    monkeypatch.setenv("SCX_GAMER_CONFIG_DIR", str(tmp_path))
    (found,) = doctor.configuration()
    assert (found.level, found.code) == ("fail", 78)
    assert "config.toml:1: mode is 3" in found.what


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def hooks() -> None:
        raise BpfError("no object", 2, hint="run make bpf")

    monkeypatch.setattr(doctor, "hooks", hooks)
    found = {finding.check: finding for finding in doctor.examine().findings}
    assert found["hooks"].level == "warn"
    assert "run make bpf" in found["hooks"].what


def test_everything_but_ok_says_what_to_do() -> None:
    for finding in doctor.examine().findings:
        assert finding.level in ("ok", "info", "warn", "fail")
        if finding.level == "fail":
            assert finding.to_do
            assert finding.code


def test_kfuncs_asked_about_are_used() -> None:
    compat = (TOP / "bpf/include/compat.h").read_text()
    assert all(name in compat for name in doctor._AUX_KFUNCS)

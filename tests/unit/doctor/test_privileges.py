# SPDX-License-Identifier: GPL-2.0-or-later
"""Features that need a drop-in of the unit: doctor says which the running supervisor has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scx_gamer.doctor import privileges
from scx_gamer.doctor.model import INFO, OK
from scx_gamer.system import procfs

PACKAGING = Path(__file__).parents[3] / "packaging/systemd"


@pytest.mark.parametrize(("mask", "levels"), [(0, [INFO, INFO]), (1 << 12 | 1 << 2, [OK, OK])])
def test_each_is_told(
    mask: int, levels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text(f"Name:\tx\nCapPrm:\t0\nCapEff:\t{mask:016x}\n")
    real = procfs.capabilities_of
    monkeypatch.setattr(procfs, "capabilities_of", lambda pid: real(pid, tmp_path))
    found = list(privileges.privileges({"pid": 7}))
    assert [one.level for one in found] == levels
    assert all(bool(one.to_do) == (one.level != OK) for one in found)


def test_a_process_that_is_gone_or_odd_is_none(tmp_path: Path) -> None:
    assert procfs.capabilities_of(2**22 + 1) is None
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("CapEff:\tnonsense\n")
    assert procfs.capabilities_of(7, tmp_path) is None
    assert procfs.capabilities_of(1, procfs.PROC) is not None


def test_a_long_list_of_groups_hides_none(tmp_path: Path) -> None:
    groups = " ".join(map(str, range(1_000_000_000, 1_000_001_000)))
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text(f"Groups:\t{groups}\nCapEff:\t3\n")
    assert procfs.capabilities_of(7, tmp_path) == 3


def test_the_unit_has_them_only_with_their_drop_ins() -> None:
    unit = (PACKAGING / "scx-gamer.service").read_text()
    assert {path.name for path in (PACKAGING / "drop-ins").iterdir()} == {
        extra.file for extra in privileges.EXTRAS
    }
    for extra in privileges.EXTRAS:
        text = (PACKAGING / "drop-ins" / extra.file).read_text()
        for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
            assert re.search(rf"^{key}={extra.name}$", text, re.M)
            for line in re.findall(rf"^{key}=(.*)$", unit, re.M):
                assert extra.name not in line

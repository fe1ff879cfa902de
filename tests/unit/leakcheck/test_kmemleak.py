# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of kmemleak in all formats, damaged reports, and runs with a positive control."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.leakcheck import check, kmemleak
from scx_gamer.leakcheck.kmemleak import Kmemleak, KmemleakError, Record, groups, parse

CORPUS = Path(__file__).parent / "corpus"


def text(name: str) -> str:
    return (CORPUS / name).read_text()


def test_the_format_with_addresses_and_ages() -> None:
    first, second = parse(text("old.txt"))
    assert first == Record(
        0xFFFF88810A2B3C40, 128, "", "scx-gamer", 411,
        ("kmem_cache_alloc_trace", "bpf_struct_ops_map_alloc", "__sys_bpf", "do_syscall_64"),
    )  # fmt: skip
    assert first.ours and not second.ours
    assert second.comm == 'odd "name' and second.frames == ("0xdeadbeef", "kthread")


def test_the_format_with_checksums() -> None:
    records = parse(text("new.txt"))
    assert [r.kind for r in records] == ["", "percpu", "phys"]
    assert [r.size for r in records] == [256, 64, 4096]
    assert records[0].frames == ("kmemleak_alloc", "__kmalloc_noprof", "scx_ops_enable")
    assert records[0].ours and not records[2].ours


def test_a_report_of_an_arm64_kernel() -> None:
    """As Linux 1db76ec2b4b2 (binder: fix memleak of proc->delivered_freeze) records it."""
    (record,) = parse(text("arm64.txt"))
    assert (record.address, record.size, record.comm) == (0xFFFF38E8CFA36180, 64, "binder-util")
    assert record.frames[:2] == ("kmemleak_alloc", "__kmalloc_cache_noprof")
    assert record.frames[6:8] == ("el0_svc_common.constprop.0", "do_el0_svc")
    assert len(record.frames) == 11 and not record.ours
    ours = text("arm64.txt").replace("binder_thread_write", "bpf_struct_ops_map_update_elem")
    assert parse(ours)[0].ours


def test_records_of_one_cause_are_one_group() -> None:
    same = [Record(n, 32, "", "a", n, ("f", "g")) for n in range(5)]
    assert groups([*same, Record(9, 64, "", "a", 1, ("f", "g"))]) == {
        (32, ("f", "g")): 5,
        (64, ("f", "g")): 1,
    }


LINES = st.sampled_from(
    [line for p in sorted(CORPUS.glob("*.txt")) for line in p.read_text().split("\n")]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(LINES, st.text(max_size=60)), max_size=40))
def test_any_lines_in_any_order(lines: list[str]) -> None:
    records = parse("\n".join(lines))
    assert len(records) <= sum(line.startswith("unreferenced object") for line in lines)
    for record in records:
        assert record.size >= 0 and record.address >= 0
        assert all(record.frames)


class Fake(Kmemleak):
    """A fake kernel with given scans."""

    def __init__(self, scans: list[list[Record]]) -> None:
        self.scans: Iterator[list[Record]] = iter(scans)
        self.written: list[str] = []

    def state(self) -> str:
        return kmemleak.ON

    def clear(self) -> None:
        self.written.append("clear")

    def scan(self) -> list[Record]:
        return next(self.scans)


SAMPLE = Record(1, 32, "", "insmod", 1, ("kmemleak_test_init",))
OURS = Record(2, 64, "", "scx-gamer", 2, ("bpf_map_alloc",))
BRIEF = Record(3, 64, "", "scx-gamer", 2, ("bpf_prog_alloc",))


def judged(
    scans: list[list[Record]], monkeypatch: pytest.MonkeyPatch, one: Callable[[int], None]
) -> check.Report:
    monkeypatch.setattr(check, "_sample", lambda _module: nullcontext())
    return check.run_kmemleak(3, None, one=one, sleep=lambda _s: None, report=Fake(scans))


def test_only_what_the_last_two_scans_have_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    control = [[SAMPLE]] * 3
    clean = judged([*control, [OURS, BRIEF], [BRIEF], []], monkeypatch, done.append)
    assert clean.verdict == "clean" and done == [1, 2, 3, 4]
    leak = judged([*control, [], [OURS], [OURS, BRIEF]], monkeypatch, done.append)
    assert leak.verdict == "leak" and leak.findings == ("1 x 64 bytes from bpf_map_alloc",)
    assert leak.figures["control"] == 1


def test_a_harness_that_finds_nothing_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    report = judged([[OURS]] * 6, monkeypatch, lambda _n: None)
    assert report.verdict == "unjudged" and report.exit_code == 2
    assert "prove nothing" in report.findings[0]


def test_states_of_the_file(tmp_path: Path) -> None:
    assert Kmemleak(tmp_path / "kmemleak").state() == kmemleak.ABSENT
    report = check.run_kmemleak(3, None, report=Kmemleak(tmp_path / "kmemleak"))
    assert report.exit_code == 2 and "absent" in report.findings[0]
    file = tmp_path / "kmemleak"
    file.write_text("")
    assert Kmemleak(file).state() == kmemleak.ON
    assert file.read_text() == "scan", "nothing but `scan` and `clear` is ever written"


def test_a_missing_sample_module_is_reported() -> None:
    with (
        pytest.raises(KmemleakError, match="--control"),
        check._sample(Path("/nonexistent/kmemleak-test.ko")),
    ):
        pass

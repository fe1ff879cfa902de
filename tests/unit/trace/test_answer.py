# SPDX-License-Identifier: GPL-2.0-or-later
"""trace: figures compared with the arithmetic of the probes, and the errors that a user sees."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.cli import main
from scx_gamer.system.text import time_text
from scx_gamer.trace import Answer, Group, Question, TraceError, ask, asking, mapped_file
from scx_gamer.trace.answer import from_tables, slot_end_ns

TOP = Path(__file__).resolve().parents[3]
PROBES = TOP / "scx_gamer/trace"


@pytest.fixture(scope="module")
def slot_of(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Compile slot_of() of common.c for this machine."""
    folder = tmp_path_factory.mktemp("slot")
    text = (PROBES / "common.c").read_text()
    body = re.search(r"static __always_inline u32 slot_of.*?\n}\n", text, re.DOTALL)
    assert body
    (folder / "slot.c").write_text(
        "typedef unsigned u32; typedef unsigned long long u64;\n#define __always_inline inline\n"
        "static u32 bpf_log2l(u64 v) { return 64 - __builtin_clzll(v); }\n"
        f"{body[0]}u32 slot(u64 ns) {{ return slot_of(ns); }}\n"
    )
    library = folder / "slot.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, folder / "slot.c"], check=True, timeout=60
    )
    function = ctypes.CDLL(str(library)).slot
    function.argtypes = [ctypes.c_uint64]
    function.restype = ctypes.c_uint32
    return function


@given(ns=st.integers(0, 1 << 62))
def test_a_value_lies_in_its_slot(slot_of: object, ns: int) -> None:
    assert callable(slot_of)
    slot = slot_of(ns)
    end = slot_end_ns(slot)
    assert ns < end
    assert end <= max(ns * 9 // 8 + 2, 8)
    assert slot_of(end - 1) == slot
    assert slot_of(end) > slot


def group(**values: int) -> Group:
    return Group("x", {24: 98, 80: 1, 160: 1}, values.get("max_ns", 1_100_000))


def test_percentiles_are_never_too_low_and_the_largest_is_exact() -> None:
    found = group()
    assert found.count == 100
    assert found.percentile_us(0.5) == slot_end_ns(24) / 1e3
    assert found.percentile_us(0.99) == slot_end_ns(80) / 1e3
    assert found.percentile_us(1.0) == 1100.0
    assert Group("x", {}, 0).percentile_us(0.5) == 0


def test_tables_become_groups() -> None:
    name = b"main\0junk".ljust(16, b"\0")
    rows = from_tables([(name, 30, 2), (b"\0" * 16, 24, 1), (name, 24, 5)], {name: 99}, "(idle)")
    assert rows[0] == {"name": "main", "slots": [(24, 5), (30, 2)], "max_ns": 99}
    assert rows[1]["name"] == "(idle)"


def test_json_and_table_and_histogram() -> None:
    body = {
        "question": "wakeups",
        "pid": 7,
        "seconds": 1.5,
        "lost": 0,
        "notes": [],
        "groups": [
            {"name": "few", "slots": [[24, 1]], "max_ns": 8},
            {"name": "many", "slots": [[120, 5], [160, 5]], "max_ns": 1_000_000},
        ],
    }
    answer = Answer.parse(body)
    assert [g.name for g in answer.groups] == ["many", "few"]
    out = answer.as_dict()
    assert out["schema"] == 1
    assert out["groups"][0]["count"] == 10  # type: ignore[index]
    lines = answer.histogram()
    assert sum(int(line.split()[3]) for line in lines) == 11
    assert [len(row) for row in answer.rows()] == [5, 5]


@pytest.mark.parametrize(
    ("us", "text"), [(0.5, "0.5 us"), (999, "999 us"), (1500, "1.5 ms"), (2e6, "2 s")]
)
def test_times(us: float, text: str) -> None:
    assert time_text(us) == text


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["trace", "wakeups", "0"], 2, "PID"),
        (["trace", "wakeups", "4194304"], 1, "no process 4194304"),
        (["trace", "frames"], 3, "not running"),
        (["trace", "input", "--seconds", "0"], 2, "--seconds"),
    ],
)
def test_refusals(
    args: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path))
    assert main(args) == code
    err = capsys.readouterr().err
    assert says.lower() in err.lower()
    assert len(err.splitlines()) == 1


def test_a_missing_bcc_names_its_package_and_costs_only_this(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asking, "_has_bcc", lambda _python: False)
    monkeypatch.setattr(
        platform, "freedesktop_os_release", lambda: {"ID": "cachyos", "ID_LIKE": "arch"}
    )
    assert main(["trace", "input"]) == 69
    err = capsys.readouterr().err
    assert "install python-bcc" in err
    assert len(err.splitlines()) == 1
    assert main(["version"]) == 0


@pytest.mark.parametrize(
    ("release", "kernel", "bcc", "headers"),
    [
        ({"ID": "debian"}, "6.12.1-amd64", "python3-bpfcc", "linux-headers-6.12.1-amd64"),
        ({"ID": "arch"}, "6.12.1-zen1", "python-bcc", "linux-zen-headers"),
        (
            {"ID": "cachyos", "ID_LIKE": "arch"},
            "6.12.1-2-cachyos",
            "python-bcc",
            "linux-cachyos-headers",
        ),
        ({"ID": "nobara", "ID_LIKE": "rhel fedora"}, "6.14", "python3-bcc", "kernel-devel-6.14"),
        (
            {"ID": "opensuse-tumbleweed", "ID_LIKE": "opensuse suse"},
            "6.14",
            "python3-bcc",
            "kernel-default-devel",
        ),
    ],
)
def test_packages_of_each_distribution(
    monkeypatch: pytest.MonkeyPatch, release: dict[str, str], kernel: str, bcc: str, headers: str
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(platform, "release", lambda: kernel)
    assert asking.packages() == (bcc, headers)


def test_a_library_is_found_by_the_start_of_its_name() -> None:
    path = mapped_file(os.getpid(), "libc.so")
    assert path.resolve().samefile(next(Path("/").glob("lib/*/libc.so.6")))
    with pytest.raises(TraceError, match="no library nosuchlib"):
        mapped_file(os.getpid(), "nosuchlib")
    with pytest.raises(TraceError, match="no file /nosuchfile"):
        mapped_file(os.getpid(), "/nosuchfile")


def test_a_child_that_fails_is_one_line() -> None:
    with pytest.raises(TraceError, match=r"ended with 1: .*boom"):
        asking._read(1, b"", b"Traceback\nRuntimeError: boom\n")
    with pytest.raises(TraceError, match="it said nothing"):
        asking._read(-9, b"{", b"")


def test_only_the_child_imports_bcc() -> None:
    code = "import sys, scx_gamer.trace, scx_gamer.cli.trace; print('bcc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TOP)
    assert done.stdout == "False\n"


def test_a_kernel_that_rejects_the_probe_is_reported() -> None:
    if os.geteuid() == 0:
        question = Question("nonsense", None, 1)
        with pytest.raises(TraceError, match="no question nonsense"):
            ask(question)
    else:
        with pytest.raises(TraceError, match="run it as root"):
            ask(Question("input", None, 1))


def test_a_uprobe_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    """In the help and when it is asked for: anti-cheat sees a breakpoint in the game's code."""
    assert main(["trace", "frames", "--help"]) == 0
    assert "anti-cheat" in capsys.readouterr().out
    main(["trace", "frames", "4194304", "--function", "libx:y"])
    assert "anti-cheat" in capsys.readouterr().err
    assert "trace frames --function" in (TOP / "docs/detection.md").read_text()

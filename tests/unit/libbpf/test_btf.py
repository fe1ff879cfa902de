# SPDX-License-Identifier: GPL-2.0-or-later
"""The BTF parser, compared with the compiler and run on bytes that are not BTF."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.libbpf import Abi, BpfError, Btf, Layout, find_object, object_btf
from scx_gamer.libbpf.btf import elf_section

TREE = Path(__file__).parents[3]
OBJECTS = sorted((TREE / "build" / "bpf").glob("*.bpf.o"))
STRUCTS = ("scxg_msg", "scxg_event", "scxg_windows", "scxg_control", "scxg_device", "scxg_tunables")


def compiled(tmp_path: Path, program: str) -> str:
    """Compile and run a C program that includes abi.h, and return its output."""
    source, binary = tmp_path / "print.c", tmp_path / "print"
    source.write_text(program)
    compiler = shutil.which("cc") or "gcc"
    subprocess.run(
        [compiler, "-I", str(TREE / "bpf" / "include"), str(source), "-o", str(binary)], check=True
    )
    return subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("path", OBJECTS, ids=lambda p: p.name)
def test_every_object_we_build_is_read(path: Path) -> None:
    btf = object_btf(path)
    if path.name == "netlimit.bpf.o":  # shares no struct with the other two
        assert btf.struct("scxg_net_slot").size > 0
        return
    if path.name == "frames.bpf.o":
        assert btf.struct("scxg_frame_sleeps").size > 8 * Abi(btf)["FRAME_SLOTS"]
        return
    if path.name == "flips.bpf.o":
        assert btf.struct("scxg_flips").size > 8 * Abi(btf)["FLIP_SLOTS"]
        return
    if path.name == "baseline.bpf.o":  # shares nothing with anybody
        assert btf.struct("sched_ext_ops").size > 0
        return
    assert (
        btf.struct("scxg_control").size
        == object_btf(find_object("observe")).struct("scxg_control").size
    )


def test_there_are_objects() -> None:
    assert {p.name for p in OBJECTS} >= {"sched.bpf.o", "observe.bpf.o", "sched_faulty.bpf.o"}


def test_sizes_and_offsets_are_the_compilers(tmp_path: Path) -> None:
    """Python and C agree on each struct's layout (regression 7)."""
    btf = object_btf(find_object("observe"))
    lines, expected = [], []
    for name in STRUCTS:
        layout = btf.struct(name)
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        expected.append(f"{name} {layout.size}")
        for field in layout.fields.values():
            lines.append(
                f'printf("{name}.{field.name} %zu %zu\\n", offsetof(struct {name}, {field.name}), '
                f"sizeof(((struct {name} *)0)->{field.name}));"
            )
            expected.append(f"{name}.{field.name} {field.offset} {field.size * (field.count or 1)}")
    program = '#include <stddef.h>\n#include <stdio.h>\n#include "abi.h"\n'
    output = compiled(tmp_path, program + "int main(void){" + "".join(lines) + "}")
    assert output.splitlines() == expected


def test_every_constant_is_the_compilers(tmp_path: Path) -> None:
    constants = Abi(object_btf(find_object("observe"))).constants
    lines = [f'printf("{name} %lld\\n", (long long){name});' for name in constants]
    program = '#include <stdio.h>\n#include "abi.h"\nint main(void){' + "".join(lines) + "}"
    assert compiled(tmp_path, program).splitlines() == [f"{n} {v}" for n, v in constants.items()]


def test_each_tunable_has_a_default_within_its_limits() -> None:
    abi = Abi(object_btf(find_object("observe")))
    names = [n.removeprefix("SCXG_TUN_") for n in abi.constants if n.startswith("SCXG_TUN_")]
    assert len(names) == abi["NR_TUNABLES"]
    for name in names:
        assert abi[f"MIN_{name}"] <= abi[f"DEF_{name}"] <= abi[f"MAX_{name}"], name
    assert abi["MAX_DEADLINE_CAP_MS"] + abi["MAX_BG_DELAY_MS"] < abi["DEADLINE_MAX_MS"]


def test_names_are_an_enums_own() -> None:
    """Limits share prefixes with enums: SCXG_MSG_SLOTS is not a message."""
    abi = Abi(object_btf(find_object("observe")))
    for enum, number in (
        ("class", "NR_CLASSES"),
        ("msg", "NR_MSGS"),
        ("lane", "NR_LANES"),
        ("tun", "NR_TUNABLES"),
    ):
        assert list(abi.names(enum)) == list(range(abi[number])), enum
    roles = Abi(object_btf(find_object("threads"))).names("role")
    assert roles == {0: "input", 1: "periodic", 2: "submit"}


def test_a_message_survives_pack_and_unpack() -> None:
    abi = Abi(object_btf(find_object("observe")))
    raw = abi.pack("scxg_msg", version=1, type=abi["MSG_TUNABLE"], generation=2**63, value=7)
    back = abi.unpack("scxg_msg", raw)
    assert (back["generation"], back["value"], back["tgid"]) == (2**63, 7, 0)
    assert len(raw) == abi.size("scxg_msg")


def test_misfits_are_named() -> None:
    abi = Abi(object_btf(find_object("observe")))
    with pytest.raises(BpfError, match="no field nonsense"):
        abi.pack("scxg_msg", nonsense=1)
    with pytest.raises(BpfError, match="scxg_msg"):
        abi.pack("scxg_msg", type=1 << 20)
    with pytest.raises(BpfError, match="needs"):
        abi.unpack("scxg_event", b"short")
    with pytest.raises(BpfError, match="no constant SCXG_NOPE"):
        abi["NOPE"]
    with pytest.raises(BpfError, match="no struct scxg_nope"):
        abi.btf.struct("scxg_nope")


def test_paths_lead_into_nested_structs_and_arrays() -> None:
    btf = object_btf(find_object("observe"))
    windows, lane = btf.struct("scxg_windows"), btf.struct("scxg_lane_state")
    place = Layout(btf, "scxg_windows").place("lane[2].held_until_ns")
    assert place.offset == windows.fields["lane"].offset + 2 * lane.size + 8
    with pytest.raises(BpfError, match="out of range"):
        Layout(btf, "scxg_windows").place("lane[4].until_ns")
    with pytest.raises(BpfError, match="has no"):
        Layout(btf, "scxg_windows").place("lane[1].nothing")
    histogram = Layout(object_btf(find_object("sched")), "scxg_cpu_stats").place("wait_hist")
    assert histogram.packer.size == 5 * 32 * 8, "both dimensions"


@given(st.binary(max_size=400))
def test_bytes_that_are_no_btf_raise_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(BpfError):
        Btf(raw)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200000), st.integers(0, 255))
def test_damaged_btf_raises_or_reads(at: int, value: int) -> None:
    raw = bytearray(elf_section(find_object("observe").read_bytes(), ".BTF", "observe"))
    raw[at % len(raw)] = value
    try:
        btf = Btf(bytes(raw))
        btf.struct("scxg_control")
        Abi(btf)
    except BpfError:
        pass


@given(st.binary(max_size=200))
def test_no_elf_file_raises_one_line(raw: bytes) -> None:
    with pytest.raises(BpfError) as caught:
        elf_section(b"\x7fELF\x02\x01" + raw, ".BTF", "x.o")
    assert "\n" not in str(caught.value)


def test_a_missing_object_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BpfError, match="make bpf"):
        object_btf(tmp_path / "none.bpf.o")
    with pytest.raises(BpfError, match="not built"):
        find_object("none")

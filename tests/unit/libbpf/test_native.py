# SPDX-License-Identifier: GPL-2.0-or-later
"""The ctypes prototypes, compared with libbpf's headers, and a libbpf that is too old."""

from __future__ import annotations

import ctypes as C
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scx_gamer.libbpf import BpfError, Object, _native, kernel

TREE = Path(__file__).parents[3]


def headers() -> Path:
    for folder in (TREE / "build" / "sysroot" / "usr" / "include", Path("/usr/include")):
        if (folder / "bpf" / "libbpf.h").exists():
            return folder
    pytest.fail("libbpf's headers are missing: run packaging/bootstrap build")


def test_struct_layouts_are_libbpfs(tmp_path: Path) -> None:
    pairs: list[tuple[str, type[C.Structure], bool]] = [
        ("struct bpf_object_open_opts", _native.OpenOpts, False),
        ("struct bpf_kprobe_multi_opts", _native.KprobeMultiOpts, False),
        ("struct bpf_test_run_opts", _native.TestRunOpts, True),
        ("struct bpf_prog_info", kernel._ProgInfo, False),
        ("struct bpf_map_info", kernel._MapInfo, False),
        ("struct bpf_btf_info", kernel._BtfInfo, True),
        ("struct bpf_iter_attach_opts", _native.IterOpts, True),
    ]
    lines, expected = [], []
    for name, mine, whole in pairs:
        for field in mine._fields_:
            if (name, field[0]) == ("struct bpf_prog_info", "flags"):
                continue  # one bit and its padding there, without a name of their own
            lines.append(f'printf("{name}.{field[0]} %zu\\n", offsetof({name}, {field[0]}));')
            expected.append(f"{name}.{field[0]} {getattr(mine, field[0]).offset}")
        if whole:
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            expected.append(f"{name} {C.sizeof(mine)}")
    # struct_ops is a member of the same union, which older headers do not have
    lines.append('printf("%zu\\n", offsetof(struct bpf_link_info, tracing));')
    expected.append(str(kernel._LinkInfo.struct_ops_map_id.offset))
    source, binary = tmp_path / "o.c", tmp_path / "o"
    include = (
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/bpf.h>\n#include <bpf/bpf.h>\n"
    )
    source.write_text(include + "#include <bpf/libbpf.h>\nint main(void){" + "".join(lines) + "}")
    compiler = shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-I", str(headers()), str(source), "-o", str(binary)], check=True)
    output = subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
    assert output.splitlines() == expected


def test_every_function_we_name_is_in_libbpf() -> None:
    library = C.CDLL(_native.native().path)
    for name in _native.PROTOTYPES:
        assert library[name]


def test_an_old_libbpf_is_refused_in_one_line(tmp_path: Path) -> None:
    source, library = tmp_path / "old.c", tmp_path / "libbpf.so.1"
    source.write_text(
        "int libbpf_major_version(void){return 1;} int libbpf_minor_version(void){return 1;}"
    )
    compiler = shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    program = (
        "from scx_gamer.libbpf._native import native\n"
        "try: native()\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SCX_GAMER_LIBBPF": str(library)},
        capture_output=True,
        text=True,
        cwd=TREE,
    )
    assert done.stdout.startswith("LibbpfTooOld libbpf 1.4 or later is needed, ")
    assert "is 1.1" in done.stdout and done.stdout.count("\n") == 1


def test_a_file_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.bpf.o"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BpfError, match=r"x\.bpf\.o") as caught:
        Object.open(path)
    assert caught.value.log, "libbpf's log is kept"


def test_an_error_is_one_line_with_a_hint() -> None:
    assert str(BpfError("attaching x", -16)).startswith(
        "attaching x: Device or resource busy: another scheduler"
    )
    assert "\n" not in str(BpfError("loading", 13, log="many\nlines"))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", ""),
        (
            "libbpf: prog 'on_input': BPF program load failed: Operation not permitted\n"
            "libbpf: permission error while running as root; try raising 'ulimit -l'? current value: 8.0 MiB\n"
            "libbpf: prog 'on_input': failed to load: -1\nlibbpf: failed to load object 'x.bpf.o'\n",
            "libbpf: prog 'on_input': BPF program load failed: Operation not permitted",
        ),
        (
            "libbpf: extern (func ksym) 'scx_bpf_x': not found in kernel or module BTFs\n"
            "libbpf: failed to load object 'x.bpf.o'\n",
            "libbpf: extern (func ksym) 'scx_bpf_x': not found in kernel or module BTFs",
        ),
        (
            "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n8: (79) r6 = *(u64 *)(r0 +56)\n"
            "R0 min value is outside of the allowed memory range\n"
            "processed 8 insns (limit 1000000) max_states_per_insn 0 total_states 0\n"
            "-- END PROG LOAD LOG --\nlibbpf: prog 'p': failed to load: -13\n"
            "libbpf: failed to load object 'x.bpf.o'",
            "R0 min value is outside of the allowed memory range",
        ),
        (
            "R0 min value is outside of the allowed memory range\n\n"
            "Verification failed: Memory Safety: Access outside bounds\n\nReason:\n  It cannot prove it.\n\n"
            "Suggestion:\n  Add a bounds check.\n\nprocessed 8 insns (limit 1000000)\n-- END PROG LOAD LOG --\n"
            "libbpf: failed to load object 'x.bpf.o'\n",
            "Verification failed: Memory Safety: Access outside bounds",
        ),
    ],
    ids=["nothing", "6.12, no permission", "no kfunc", "6.12", "7.3"],
)
def test_the_line_that_says_why_is_found(log: str, reason: str) -> None:
    error = BpfError("loading x.bpf.o", 13, log=log)
    assert error.reason == reason
    assert error.with_reason().endswith(f"[{reason}]" if reason else str(error))

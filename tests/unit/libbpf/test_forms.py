# SPDX-License-Identifier: GPL-2.0-or-later
"""The forms of sched_ext's kfuncs, against kernels' BTF with names put in and taken out."""

from __future__ import annotations

from pathlib import Path

import pytest

from scx_gamer.libbpf import BpfError, find_object
from scx_gamer.libbpf.btf import Btf, elf_section, object_btf
from tests import core_check
from tests.clang import compile_bpf

P = "struct task_struct *p"
OLDEST = f"""
void scx_bpf_dispatch({P}, u64 dsq, u64 slice, u64 flags) {{}}
void scx_bpf_dispatch_vtime({P}, u64 dsq, u64 slice, u64 vtime, u64 flags) {{}}
_Bool scx_bpf_consume(u64 dsq) {{ return 0; }}
"""
# Linux 7.2, without the forms that end in ___v2.
NEWEST = f"""
void scx_bpf_dsq_insert({P}, u64 dsq, u64 slice, u64 flags) {{}}
_Bool __scx_bpf_dsq_insert_vtime({P}, struct scx_bpf_dsq_insert_vtime_args *args) {{ return 0; }}
_Bool scx_bpf_dsq_move_to_local(u64 dsq) {{ return 0; }}
"""
# As its comments announce the kernels after it: the old names are gone, the new forms have them.
ANNOUNCED = f"""
_Bool scx_bpf_dsq_insert({P}, u64 dsq, u64 slice, u64 flags) {{ return 0; }}
_Bool __scx_bpf_dsq_insert_vtime({P}, struct scx_bpf_dsq_insert_vtime_args *args) {{ return 0; }}
_Bool scx_bpf_dsq_move_to_local(u64 dsq, u64 flags) {{ return 0; }}
"""
# Prototypes that nobody knows: a BTF that keeps a hidden argument is like this.
STRANGE = f"""
void scx_bpf_dsq_insert({P}, u64 dsq, u64 slice, u64 flags, void *aux) {{}}
_Bool scx_bpf_dsq_move_to_local(u64 dsq, u64 flags, void *aux) {{ return 0; }}
"""


def kernel(folder: Path, functions: str) -> Btf:
    source = folder / "kernel.bpf.c"
    source.write_text(f"typedef unsigned long long u64;\nstruct task_struct;\n{functions}")
    return object_btf(compile_bpf(source, folder / "kernel.bpf.o"))


def resolved(folder: Path, functions: str) -> list[list[str]]:
    return list(
        core_check.forms(kernel(folder, functions), object_btf(find_object("sched"))).values()
    )


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (OLDEST, [["scx_bpf_dispatch"], ["scx_bpf_dispatch_vtime"], ["scx_bpf_consume"]]),
        (NEWEST, [["scx_bpf_dsq_insert"], ["__scx_bpf_dsq_insert_vtime"], ["scx_bpf_dsq_move_to_local"]]),
        (ANNOUNCED, [["scx_bpf_dsq_insert___bool"], ["__scx_bpf_dsq_insert_vtime"],
                     ["scx_bpf_dsq_move_to_local___flags"]]),
        (STRANGE, [[], [], []]),
        ("int nothing;", [[], [], []]),
    ],
    ids=["oldest", "newest", "announced", "strange", "none"],
)  # fmt: skip
def test_one_form_of_each_kfunc(tmp_path: Path, functions: str, expected: list[list[str]]) -> None:
    assert resolved(tmp_path, functions) == expected


def test_a_form_that_the_scheduler_does_not_declare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(core_check.FORMS, "insert", ("scx_bpf_no_such_insert",))
    with pytest.raises(KeyError, match="scx_bpf_no_such_insert"):
        resolved(tmp_path, OLDEST)


# task_struct::on_cpu is an int up to Linux 7.1, and a u8 since. One member is loaded, the other read by a helper.
READER = """
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct scxg_test {{ {0} loaded; {0} copied; }};
#pragma clang attribute pop
u64 seen;
SEC("tp_btf/sched_wakeup")
int BPF_PROG(read, struct scxg_test *t)
{{
	seen = t->loaded + BPF_CORE_READ(t, copied);
	return 0;
}}
"""


@pytest.mark.parametrize(
    ("ours", "kernels", "misread"),
    [
        ("int", "int", []),
        ("int", "unsigned", []),
        ("int", "unsigned char", ["copied of 4", "loaded of 4"]),
        ("unsigned", "unsigned char", ["copied of 4"]),
        ("unsigned", "signed char", ["copied of 4", "loaded of 4"]),
    ],
)
def test_a_field_of_another_size(
    tmp_path: Path, ours: str, kernels: str, misread: list[str]
) -> None:
    source = tmp_path / "reader.bpf.c"
    source.write_text(READER.format(ours))
    wanted = core_check.requests(compile_bpf(source, tmp_path / "reader.bpf.o"))
    there = kernel(tmp_path, f"struct scxg_test {{ {kernels} loaded, copied; }} test;")
    assert [str(one) for one in core_check.missing(there, wanted)] == [
        f"scxg_test.{one} bytes" for one in misread
    ]


def test_the_types_in_an_arm64_image_are_found(tmp_path: Path) -> None:
    """Beside a module's, which are shorter, and where the header's bytes are something else."""
    ours, shorter = (
        elf_section(find_object(name).read_bytes(), ".BTF", name) for name in ("sched", "netlimit")
    )
    image = tmp_path / "vmlinuz"
    image.write_bytes(
        bytes(0x38) + b"ARM\x64" + shorter + core_check._BTF_HEADER + b"\xff" * 64 + ours + shorter
    )
    assert core_check.image_btf(image) == ours
    image.write_bytes(bytes(0x38) + b"ARM\x64" + core_check._BTF_HEADER)
    with pytest.raises(BpfError, match="no BTF"):
        core_check.image_btf(image)

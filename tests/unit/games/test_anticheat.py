# SPDX-License-Identifier: GPL-2.0-or-later
"""The promise of docs/detection.md: nothing that is shipped attaches to, traces or reads a user process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]
SOURCES = sorted((TREE / "bpf").glob("*.bpf.c"))
# Tracepoints with BTF and functions of the kernel, the scheduler, network of a cgroup, and a call of our own.
KERNEL_ONLY = re.compile(
    r"^(tp_btf/\w+|f(entry|exit)/\w+|k(ret)?probe\.multi/\w+|struct_ops(\.s)?/\w+|\.struct_ops\.link|cgroup(_skb)?/\w+|iter/\w+|syscall|license|\.maps)$"
)
FORBIDDEN = re.compile(
    r"ptrace\(|PTRACE_|process_vm_(read|write)v|/mem[\"'}]|LD_PRELOAD|bpf_probe_write_user|bpf_probe_read_user|"
    r"bpf_copy_from_user|uprobe|usdt|bpf_send_signal|bpf_override_return"
)
# The words of a lock that the game's thread asks the kernel to wait for, in that call of its own.
SAID = ["bpf/sched/lock.bpf.h: bpf_probe_read_user"]


def sections(text: str) -> set[str]:
    return set(re.findall(r'SEC\("([^"]+)"\)', text))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_programs_attach_to_the_kernel_alone(path: Path) -> None:
    found = sections(path.read_text())
    assert found
    assert not [name for name in found if not KERNEL_ONLY.match(name)]


def test_a_uprobe_would_be_noticed() -> None:
    assert [n for n in sections('SEC("uprobe//usr/bin/game:main")') if not KERNEL_ONLY.match(n)]


def test_no_source_reaches_into_another_process() -> None:
    sources = [*(TREE / "scx_gamer").rglob("*.py"), *(TREE / "bpf").rglob("*.[ch]")]
    found = [
        f"{path.relative_to(TREE)}: {match[0]}"
        for path in sources
        # the user's own question, in a child process
        if "trace" not in path.relative_to(TREE).with_suffix("").parts
        for match in FORBIDDEN.finditer(path.read_text())
    ]
    assert len(sources) > 50 and found == SAID

# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel with no form of a needed kfunc: the scheduler is refused before it could stall the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from scx_gamer.libbpf import BpfError, Object, find_object
from scx_gamer.scheduler.attached import fit_ops
from tests.core_check import FORMS
from tests.vm.attach.conftest import attached


def without(names: tuple[str, ...], folder: Path) -> Path:
    """The scheduler, asking for kfuncs that no kernel has in place of these."""
    raw = find_object("sched").read_bytes()
    for name in names:
        old = name.encode() + b"\0"
        assert old in raw
        raw = raw.replace(old, old.replace(b"scx_bpf_", b"scx_gone"))
    path = folder / "sched.bpf.o"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("what", FORMS)
def test_no_form_of_a_kfunc_is_a_load_that_fails(what: str, tmp_path: Path) -> None:
    with Object.open(without(FORMS[what], tmp_path)) as obj:
        fit_ops(obj)
        with pytest.raises(BpfError) as caught:
            obj.load()
    assert FORMS[what][-1].replace("scx_bpf_", "scx_gone") in caught.value.log
    assert not attached()

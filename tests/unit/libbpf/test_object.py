# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of an opened object file."""

from __future__ import annotations

import gc

from scx_gamer.libbpf import Object, find_object


def test_an_object_is_gone_when_it_is_closed() -> None:
    """Its memory is free before the next GC pass: otherwise each restart of a scheduler would grow the process."""
    with Object.open(find_object("sched")):
        pass
    gc.collect()
    gc.disable()
    try:
        with Object.open(find_object("sched")) as obj:
            assert obj.maps and obj.programs
        del obj
        assert gc.collect() == 0
    finally:
        gc.enable()

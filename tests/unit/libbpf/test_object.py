# SPDX-License-Identifier: GPL-2.0-only
"""An object file of ours, opened on the machine itself."""

from __future__ import annotations

import gc

from scx_gamer.libbpf import Object, find_object


def test_an_object_is_gone_when_it_is_closed() -> None:
    """Not when the collector of garbage comes: each restart of a supervisor would grow by what it has not seen yet."""
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

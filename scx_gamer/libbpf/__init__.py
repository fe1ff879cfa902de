# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed binding of libbpf 1.4 or later. Imports nothing else of scx_gamer.

Every class that owns a kernel object is a context manager with an idempotent `close`. Every failure is a `BpfError`,
whose text is one line.
"""

from scx_gamer.libbpf.abi import Abi, Layout, Mapped, StructView
from scx_gamer.libbpf.btf import Btf, Field, StructLayout, object_btf
from scx_gamer.libbpf.errors import BpfError, LibbpfTooOld
from scx_gamer.libbpf.kernel import KernelBtf
from scx_gamer.libbpf.object import (
    Link,
    Map,
    Object,
    Program,
    Runner,
    attaching,
    find_object,
    shipped_abi,
)
from scx_gamer.libbpf.rings import RingBuffer, UserRing

__all__ = [
    "Abi", "BpfError", "Btf", "Field", "KernelBtf", "Layout", "LibbpfTooOld", "Link", "Map",
    "Mapped", "Object", "Program", "RingBuffer", "Runner", "StructLayout", "StructView", "UserRing",
    "attaching", "find_object", "object_btf", "shipped_abi",
]  # fmt: skip

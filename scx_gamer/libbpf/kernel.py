# SPDX-License-Identifier: GPL-2.0-or-later
"""Queries of the running kernel: its BTF, and the BPF objects in it.

libbpf parses the BTF, because parsing its 130 000 types in Python would take seconds.
"""

from __future__ import annotations

import ctypes as C
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scx_gamer.libbpf._native import native
from scx_gamer.libbpf.btf import KIND_ENUM, KIND_ENUM64, KIND_FUNC, KIND_STRUCT
from scx_gamer.libbpf.errors import BpfError
from scx_gamer.system.closing import Closing
from scx_gamer.system.files import open_directory

BTF = Path("/sys/kernel/btf/vmlinux")
BTF_HINT = "use a kernel with CONFIG_DEBUG_INFO_BTF=y"
LINK_CGROUP, LINK_STRUCT_OPS = 3, 9  # enum bpf_link_type
CGROUP_TYPES = {"ingress": 0, "egress": 1, "sock_create": 2}  # enum bpf_attach_type

Info = TypeVar("Info", bound=C.Structure)


class _BtfType(C.Structure):
    _fields_ = [("name_off", C.c_uint32), ("info", C.c_uint32), ("size_or_type", C.c_uint32)]


class KernelBtf(Closing):
    """The BTF of the running kernel. Raises BpfError if the kernel has none."""

    def __init__(self) -> None:
        self._native = native()
        self._handle = self._native.pointer("the kernel's BTF", "btf__load_vmlinux_btf")

    def close(self) -> None:
        handle, self._handle = self._handle, 0
        if handle:
            self._native("btf__free", handle)

    def _id(self, name: str, kind: int) -> int:
        return int(self._native("btf__find_by_name_kind", self._handle, name.encode(), kind))

    def _type(self, type_id: int) -> tuple[int, _BtfType]:
        address = int(self._native("btf__type_by_id", self._handle, type_id))
        return address, _BtfType.from_address(address)

    def _name(self, offset: int) -> str:
        return bytes(self._native("btf__name_by_offset", self._handle, offset)).decode()

    def enum(self, name: str) -> dict[str, int]:
        """Return the values of an enum by name; empty if the kernel has no such enum."""
        for kind, words in ((KIND_ENUM, 2), (KIND_ENUM64, 3)):
            type_id = self._id(name, kind)
            if type_id < 0:
                continue
            address, t = self._type(type_id)
            found = {}
            for i in range(t.info & 0xFFFF):
                word = (C.c_uint32 * words).from_address(address + 12 + 4 * words * i)
                found[self._name(word[0])] = word[1] | (word[2] << 32 if words == 3 else 0)
            return found
        return {}

    def members(self, name: str) -> frozenset[str]:
        """Return the names of a struct's members; empty if the kernel has no such struct."""
        type_id = self._id(name, KIND_STRUCT)
        if type_id < 0:
            return frozenset()
        address, t = self._type(type_id)
        return frozenset(
            self._name(C.c_uint32.from_address(address + 12 + 12 * i).value)
            for i in range(t.info & 0xFFFF)
        )

    def parameters(self, function: str) -> list[str]:
        """Return the names of a function's parameters; empty if the kernel has no such function."""
        type_id = self._id(function, KIND_FUNC)
        if type_id < 0:
            return []
        _, t = self._type(type_id)
        address, proto = self._type(t.size_or_type)
        return [
            self._name((C.c_uint32 * 2).from_address(address + 12 + 8 * i)[0])
            for i in range(proto.info & 0xFFFF)
        ]

    def has_hidden_argument(self, kfunc: str) -> bool:
        """Return True if a kfunc's BTF shows the implicit `aux` argument, as old versions of pahole write it.

        libbpf then takes the kfunc for one with another prototype.
        """
        return "aux" in self.parameters(kfunc)


class _ProgInfo(C.Structure):
    """`struct bpf_prog_info` up to `verified_insns`."""

    _fields_ = [
        ("type", C.c_uint32),
        ("id", C.c_uint32),
        ("tag", C.c_uint8 * 8),
        ("jited_prog_len", C.c_uint32),
        ("xlated_prog_len", C.c_uint32),
        ("jited_prog_insns", C.c_uint64),
        ("xlated_prog_insns", C.c_uint64),
        ("load_time", C.c_uint64),
        ("created_by_uid", C.c_uint32),
        ("nr_map_ids", C.c_uint32),
        ("map_ids", C.c_uint64),
        ("name", C.c_char * 16),
        ("ifindex", C.c_uint32),
        ("flags", C.c_uint32),
        ("netns_dev", C.c_uint64),
        ("netns_ino", C.c_uint64),
        ("nr_jited_ksyms", C.c_uint32),
        ("nr_jited_func_lens", C.c_uint32),
        ("jited_ksyms", C.c_uint64),
        ("jited_func_lens", C.c_uint64),
        ("btf_id", C.c_uint32),
        ("func_info_rec_size", C.c_uint32),
        ("func_info", C.c_uint64),
        ("nr_func_info", C.c_uint32),
        ("nr_line_info", C.c_uint32),
        ("line_info", C.c_uint64),
        ("jited_line_info", C.c_uint64),
        ("nr_jited_line_info", C.c_uint32),
        ("line_info_rec_size", C.c_uint32),
        ("jited_line_info_rec_size", C.c_uint32),
        ("nr_prog_tags", C.c_uint32),
        ("prog_tags", C.c_uint64),
        ("run_time_ns", C.c_uint64),
        ("run_cnt", C.c_uint64),
        ("recursion_misses", C.c_uint64),
        ("verified_insns", C.c_uint32),
    ]


class _MapInfo(C.Structure):
    """`struct bpf_map_info` up to `name`."""

    _fields_ = [
        ("type", C.c_uint32),
        ("id", C.c_uint32),
        ("key_size", C.c_uint32),
        ("value_size", C.c_uint32),
        ("max_entries", C.c_uint32),
        ("map_flags", C.c_uint32),
        ("name", C.c_char * 16),
    ]


class _LinkInfo(C.Structure):
    """`struct bpf_link_info`, and of its union the map id of a struct_ops link."""

    _fields_ = [
        ("type", C.c_uint32),
        ("id", C.c_uint32),
        ("prog_id", C.c_uint32),
        ("pad", C.c_uint32),
        ("struct_ops_map_id", C.c_uint32),
        ("pad2", C.c_uint32),
    ]


class _BtfInfo(C.Structure):
    """`struct bpf_btf_info`."""

    _fields_ = [
        ("btf", C.c_uint64),
        ("btf_size", C.c_uint32),
        ("id", C.c_uint32),
        ("name", C.c_uint64),
        ("name_len", C.c_uint32),
        ("kernel_btf", C.c_uint32),
    ]


def prog_info(fd: int) -> dict[str, int | str]:
    """Return id, name, verified_insns, run_time_ns, run_cnt and recursion_misses of a loaded program. Raises BpfError.

    recursion_misses counts events for which it was not run because it was already running on that CPU.
    """
    info = _info(fd, _ProgInfo())
    fields = ("id", "verified_insns", "run_time_ns", "run_cnt", "recursion_misses")
    return {"name": _text(info.name), **{field: getattr(info, field) for field in fields}}


def _info(fd: int, info: Info) -> Info:
    """Fill in the information about an object. Raises BpfError."""
    size = C.c_uint32(C.sizeof(info))
    native().check("BPF object info", "bpf_obj_get_info_by_fd", fd, C.byref(info), C.byref(size))
    return info


def _text(name: bytes) -> str:
    return name.decode("ascii", "replace")


def ids(kind: str) -> list[int]:
    """Return the ids of all BPF objects of a kind: `prog`, `map`, `link` or `btf`. Raises BpfError, also for EPERM."""
    found: list[int] = []
    current = C.c_uint32(0)
    while True:
        result = native()(f"bpf_{kind}_get_next_id", current.value, C.byref(current))
        if result == -errno.ENOENT:
            return found
        if result < 0:
            raise BpfError(f"BPF {kind} ids", -result)
        found.append(current.value)


def names(kind: str) -> dict[int, str]:
    """Return id → name of all BPF objects of a kind. Raises BpfError.

    A link has the name of its program or map. BTF of kernel modules is left out; BTF with our types is named `scxg`. An
    object that is freed meanwhile is left out.
    """
    found: dict[int, str] = {}
    for number in ids(kind):
        with suppress(BpfError), _opened(kind, number) as fd:
            name = None if fd is None else _name(kind, fd)
            if name is not None:
                found[number] = name
    return found


@contextmanager
def _opened(kind: str, number: int) -> Iterator[int | None]:
    """Yield a descriptor of the object with this id; None if the object was freed meanwhile."""
    fd = native()(f"bpf_{kind}_get_fd_by_id", number)
    if fd < 0:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _name(kind: str, fd: int) -> str | None:
    if kind == "prog":
        return _text(_info(fd, _ProgInfo()).name)
    if kind == "map":
        return _text(_info(fd, _MapInfo()).name)
    if kind == "btf":
        return _btf_name(fd)
    info = _info(fd, _LinkInfo())
    of, number = (
        ("map", info.struct_ops_map_id) if info.type == LINK_STRUCT_OPS else ("prog", info.prog_id)
    )
    with _opened(of, number) as target:
        return f"{of} {number}" if target is None else _name(of, target)


def _btf_name(fd: int) -> str | None:
    info = _info(fd, _BtfInfo())
    if info.kernel_btf:
        return None
    blob = C.create_string_buffer(info.btf_size)
    _info(fd, _BtfInfo(btf=C.addressof(blob), btf_size=info.btf_size))
    return "scxg" if b"scxg_" in blob.raw else ""


def cgroup_programs(cgroup: Path) -> dict[str, list[int]]:
    """Return the ids of programs attached to a cgroup itself, by attach type. Raises BpfError, OSError."""
    with open_directory(cgroup) as fd:
        found = {name: programs_on(fd, kind) for name, kind in CGROUP_TYPES.items()}
    return {name: numbers for name, numbers in found.items() if numbers}


def programs_on(cgroup_fd: int, attach_type: int) -> list[int]:
    """Return the ids of programs of one attach type on a cgroup itself. Raises BpfError."""
    flags, count = C.c_uint32(), C.c_uint32(64)
    array = (C.c_uint32 * 64)()
    native().check(
        "programs of a cgroup",
        "bpf_prog_query",
        cgroup_fd,
        attach_type,
        0,
        C.byref(flags),
        array,
        C.byref(count),
    )
    return list(array[: count.value])


@dataclass(frozen=True)
class LinkFacts:
    """A link of a program. `cgroup`: of a LINK_CGROUP, 0 after the cgroup was removed."""

    id: int
    type: int  # enum bpf_link_type
    program: int
    cgroup: int


def links() -> list[LinkFacts]:
    """Return all links. Raises BpfError, also for EPERM."""
    found = []
    for number in ids("link"):
        with _opened("link", number) as fd:
            if fd is not None:
                info = _info(fd, _LinkInfo())
                cgroup = info.struct_ops_map_id | info.pad2 << 32  # a u64 of the same union
                found.append(LinkFacts(info.id, info.type, info.prog_id, cgroup))
    return found


def cgroup_links() -> list[LinkFacts]:
    """Return all links to cgroups. Raises BpfError, also for EPERM."""
    return [link for link in links() if link.type == LINK_CGROUP]


def detach_link(number: int) -> None:
    """Detach a link by its id, even if another process holds it; one that is gone is detached. Raises BpfError."""
    with _opened("link", number) as fd:
        if fd is not None:
            native().check(f"detaching link {number}", "bpf_link_detach", fd)


def detach_program(program: int, cgroup_fd: int, attach_type: int) -> None:
    """Detach a program that was attached without a link. Raises BpfError."""
    fd = native().check(f"program {program}", "bpf_prog_get_fd_by_id", program)
    try:
        native().check(
            f"detaching program {program}", "bpf_prog_detach2", fd, cgroup_fd, attach_type
        )
    finally:
        os.close(fd)


def pin(fd: int, path: Path) -> None:
    """Pin a map, program or link in bpffs, where it outlives the process. Raises BpfError."""
    native().check(f"pinning {path}", "bpf_obj_pin", fd, os.fsencode(path))

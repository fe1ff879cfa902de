# SPDX-License-Identifier: GPL-2.0-only
"""Every function of libbpf and libc that we call, with its types, in one place.

Pointers come back NULL with errno set, ints as `-errno`. Functions are fetched by item, so that each has its own
prototype. What serves the rings goes through PyDLL, which keeps the interpreter's lock: none of it waits for anything,
and where another thread is busy each call that drops the lock waits to have it again.
"""

from __future__ import annotations

import ctypes as C
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from scx_gamer.libbpf.errors import BpfError, LibbpfTooOld
from scx_gamer.system.paths import checkout_variable

FLOOR = (1, 4)
PRINT_DEBUG = 2  # enum libbpf_print_level
LIBC = C.CDLL(None)  # not every one has malloc's switches
MMAP_THRESHOLD = -3  # malloc.h's M_MMAP_THRESHOLD
MMAP_THRESHOLD_BYTES = 128 * 1024  # glibc's own first value

PTR = C.c_void_p
STR = C.c_char_p
INT = C.c_int
U32 = C.c_uint32
SIZE = C.c_size_t

PRINT_FN = C.CFUNCTYPE(INT, INT, STR, PTR)
RING_FN = C.PYFUNCTYPE(INT, PTR, PTR, SIZE)

PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "libbpf_set_print": (PTR, [PRINT_FN]),
    "bpf_object__open_file": (PTR, [STR, PTR]),
    "bpf_object__load": (INT, [PTR]),
    "bpf_object__close": (None, [PTR]),
    "bpf_object__btf": (PTR, [PTR]),
    "btf__raw_data": (PTR, [PTR, C.POINTER(U32)]),
    "bpf_object__next_map": (PTR, [PTR, PTR]),
    "bpf_object__next_program": (PTR, [PTR, PTR]),
    "bpf_map__name": (STR, [PTR]),
    "bpf_map__fd": (INT, [PTR]),
    "bpf_map__type": (U32, [PTR]),
    "bpf_map__key_size": (U32, [PTR]),
    "bpf_map__value_size": (U32, [PTR]),
    "bpf_map__max_entries": (U32, [PTR]),
    "bpf_map__set_max_entries": (INT, [PTR, U32]),
    "bpf_map__reuse_fd": (INT, [PTR, INT]),
    "bpf_map__initial_value": (PTR, [PTR, C.POINTER(SIZE)]),
    "bpf_map__attach_struct_ops": (PTR, [PTR]),
    "bpf_map_lookup_elem": (INT, [INT, PTR, PTR]),
    "bpf_map_update_elem": (INT, [INT, PTR, PTR, C.c_uint64]),
    "bpf_map_delete_elem": (INT, [INT, PTR]),
    "bpf_map_get_next_key": (INT, [INT, PTR, PTR]),
    "bpf_program__name": (STR, [PTR]),
    "bpf_program__fd": (INT, [PTR]),
    "bpf_program__set_autoload": (INT, [PTR, C.c_bool]),
    "bpf_program__attach": (PTR, [PTR]),
    "bpf_program__attach_cgroup": (PTR, [PTR, INT]),
    "bpf_program__attach_iter": (PTR, [PTR, PTR]),
    "bpf_iter_create": (INT, [INT]),
    "bpf_prog_test_run_opts": (INT, [INT, PTR]),
    "bpf_prog_detach2": (INT, [INT, INT, INT]),
    "bpf_link__fd": (INT, [PTR]),
    "bpf_link__destroy": (INT, [PTR]),
    "bpf_link_detach": (INT, [INT]),
    "ring_buffer__new": (PTR, [INT, RING_FN, PTR, PTR]),
    "ring_buffer__epoll_fd": (INT, [PTR]),
    "ring_buffer__consume": (INT, [PTR]),
    "ring_buffer__free": (None, [PTR]),
    "user_ring_buffer__new": (PTR, [INT, PTR]),
    "user_ring_buffer__reserve": (PTR, [PTR, U32]),
    "user_ring_buffer__submit": (None, [PTR, PTR]),
    "user_ring_buffer__free": (None, [PTR]),
    "btf__load_vmlinux_btf": (PTR, []),
    "btf__free": (None, [PTR]),
    "btf__find_by_name_kind": (C.c_int32, [PTR, STR, U32]),
    "btf__type_by_id": (PTR, [PTR, U32]),
    "btf__name_by_offset": (STR, [PTR, U32]),
    "bpf_prog_get_next_id": (INT, [U32, C.POINTER(U32)]),
    "bpf_map_get_next_id": (INT, [U32, C.POINTER(U32)]),
    "bpf_link_get_next_id": (INT, [U32, C.POINTER(U32)]),
    "bpf_btf_get_next_id": (INT, [U32, C.POINTER(U32)]),
    "bpf_prog_get_fd_by_id": (INT, [U32]),
    "bpf_map_get_fd_by_id": (INT, [U32]),
    "bpf_link_get_fd_by_id": (INT, [U32]),
    "bpf_btf_get_fd_by_id": (INT, [U32]),
    "bpf_obj_pin": (INT, [INT, STR]),
    "bpf_prog_query": (INT, [INT, INT, U32, C.POINTER(U32), C.POINTER(U32), C.POINTER(U32)]),
    "bpf_obj_get_info_by_fd": (INT, [INT, PTR, C.POINTER(U32)]),
}

KEEP_LOCK = frozenset(
    {
        "ring_buffer__consume",
        "user_ring_buffer__reserve",
        "user_ring_buffer__submit",
        "bpf_prog_test_run_opts",
    }
)


class OpenOpts(C.Structure):
    """`struct bpf_object_open_opts` up to the members we set; `sz` tells libbpf where it ends."""

    _fields_ = [("sz", SIZE), ("object_name", STR)]


class TestRunOpts(C.Structure):
    """`struct bpf_test_run_opts`."""

    __test__ = False
    _fields_ = [
        ("sz", SIZE),
        ("data_in", PTR),
        ("data_out", PTR),
        ("data_size_in", U32),
        ("data_size_out", U32),
        ("ctx_in", PTR),
        ("ctx_out", PTR),
        ("ctx_size_in", U32),
        ("ctx_size_out", U32),
        ("retval", U32),
        ("repeat", INT),
        ("duration", U32),
        ("flags", U32),
        ("cpu", U32),
        ("batch_size", U32),
    ]


class Calls(Protocol):
    """The kernel as all of the binding sees it: the real one, or in a test one that fails the n-th call."""

    path: str

    def __call__(self, name: str, *arguments: Any) -> Any: ...

    def pointer(self, what: str, name: str, *arguments: Any) -> int: ...

    def check(self, what: str, name: str, *arguments: Any) -> int: ...

    def map_memory(self, fd: int, size: int) -> mmap.mmap: ...


class IterTask(C.Structure):
    """`union bpf_iter_link_info` as its member `task`, as long as its longest member."""

    _fields_ = [("tid", U32), ("pid", U32), ("pid_fd", U32), ("unused", U32)]


class IterOpts(C.Structure):
    """`struct bpf_iter_attach_opts`."""

    _fields_ = [("sz", SIZE), ("link_info", PTR), ("link_info_len", U32)]


def keep_little() -> None:
    """What libbpf frees would teach malloc to keep megabytes of heap; a limit that was set is not taught."""
    mallopt = getattr(LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def give_back() -> None:
    """The pages of the heap in which nothing is any more, to the kernel."""
    trim = getattr(LIBC, "malloc_trim", None)
    if trim is not None:
        trim(SIZE(0))


class Native:
    """The real kernel interface."""

    def __init__(self, path: str) -> None:
        self.path = path
        library, locked = C.CDLL(path, use_errno=True), C.PyDLL(path, use_errno=True)
        self._functions: dict[str, Callable[..., Any]] = {}
        for name, (restype, argtypes) in PROTOTYPES.items():
            function = (locked if name in KEEP_LOCK else library)[name]
            function.restype, function.argtypes = restype, argtypes
            self._functions[name] = function
        self._log: list[str] = []
        self._vsnprintf = LIBC["vsnprintf"]
        self._vsnprintf.argtypes = [STR, SIZE, STR, PTR]
        keep_little()
        self._printer = PRINT_FN(self._on_print)
        self("libbpf_set_print", self._printer)

    def __call__(self, name: str, *arguments: Any) -> Any:
        return self._functions[name](*arguments)

    def pointer(self, what: str, name: str, *arguments: Any) -> int:
        """Call a function that returns a pointer; NULL becomes a BpfError."""
        self._log.clear()
        result = self(name, *arguments)
        if not result:
            raise BpfError(what, C.get_errno(), log=self._log_tail())
        return int(result)

    def check(self, what: str, name: str, *arguments: Any) -> int:
        """Call a function that returns an int; below 0 becomes a BpfError."""
        self._log.clear()
        result = int(self(name, *arguments))
        if result < 0:
            raise BpfError(what, -result, log=self._log_tail())
        return result

    def map_memory(self, fd: int, size: int) -> mmap.mmap:
        """A map's memory, shared with the kernel. Raises OSError."""
        return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def _log_tail(self, lines: int = 24) -> str:
        """The end of what libbpf said during the last checked call; the verifier's verdict is there."""
        return "\n".join("".join(self._log).rstrip().splitlines()[-lines:])

    def _on_print(self, level: int, fmt: bytes, arguments: int) -> int:
        if level >= PRINT_DEBUG:  # formatting it costs more than the load that it comments
            return 0
        try:
            buffer = C.create_string_buffer(65536)
            self._vsnprintf(buffer, len(buffer), fmt, arguments)
            self._log.append(buffer.value.decode("utf-8", "replace"))
            del self._log[:-400]
        except Exception as err:  # what leaves a callback as an exception hands libbpf garbage
            self._log.append(f"log line lost: {err}\n")
        return 0


def _candidates() -> list[str]:
    chosen = checkout_variable("SCX_GAMER_LIBBPF")
    if chosen:
        return [chosen]
    checkout = Path(__file__).resolve().parents[2] / "build" / "sysroot" / "usr" / "lib"
    return [*map(str, sorted(checkout.glob("**/libbpf.so.1"))), "libbpf.so.1"]


def version_of(path: str) -> tuple[int, int]:
    """(major, minor) of a libbpf; raises OSError when it cannot be loaded."""
    library = C.CDLL(path)
    return int(library["libbpf_major_version"]()), int(library["libbpf_minor_version"]())


_stand_ins: list[Calls] = []


@contextmanager
def stand_in(calls: Calls) -> Iterator[None]:
    """Use `calls` in place of the real kernel inside the block."""
    _stand_ins.append(calls)
    try:
        yield
    finally:
        _stand_ins.remove(calls)


def native() -> Calls:
    """The process's libbpf, or what stands in for it. Raises LibbpfTooOld."""
    return _stand_ins[-1] if _stand_ins else real()


@cache
def real() -> Native:
    """The process's libbpf. Raises LibbpfTooOld, with what was found, when there is none of 1.4 or later."""
    found: list[str] = []
    for path in _candidates():
        try:
            version = version_of(path)
        except OSError:
            continue
        if version >= FLOOR:
            return Native(path)
        found.append(f"{path} is {version[0]}.{version[1]}")
    raise LibbpfTooOld(
        "libbpf 1.4 or later is needed, " + ("; ".join(found) if found else "none was found"),
        hint="install libbpf1 (Debian 12: from bookworm-backports)",
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""The ctypes prototypes of every libbpf and libc function in use.

Functions that return a pointer return NULL and set errno on failure; those that return an int return `-errno`.
Functions are looked up by item, so that each has a prototype of its own. Ring functions are called through PyDLL,
which keeps the GIL: they never block, and a call that releases the GIL waits for it again while another thread is busy.
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
LIBC = C.CDLL(None)  # musl lacks mallopt and malloc_trim
MMAP_THRESHOLD = -3  # malloc.h's M_MMAP_THRESHOLD
MMAP_THRESHOLD_BYTES = 128 * 1024  # glibc's initial value
LOG_LINES = 400  # of libbpf's log that are kept
LOG_LINE_BYTES = 65536

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
    "bpf_program__section_name": (STR, [PTR]),
    "bpf_program__fd": (INT, [PTR]),
    "bpf_program__set_autoload": (INT, [PTR, C.c_bool]),
    "bpf_program__attach": (PTR, [PTR]),
    "bpf_program__attach_kprobe_multi_opts": (PTR, [PTR, STR, PTR]),
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

KEEP_GIL = frozenset(
    {
        "ring_buffer__consume",
        "user_ring_buffer__reserve",
        "user_ring_buffer__submit",
        "bpf_prog_test_run_opts",
    }
)


class OpenOpts(C.Structure):
    """`struct bpf_object_open_opts` up to the last member in use; `sz` is its size."""

    _fields_ = [("sz", SIZE), ("object_name", STR)]


class KprobeMultiOpts(C.Structure):
    """`struct bpf_kprobe_multi_opts` up to the last member in use; `sz` is its size."""

    _fields_ = [
        ("sz", SIZE),
        ("syms", PTR),
        ("addrs", PTR),
        ("cookies", PTR),
        ("cnt", SIZE),
        ("retprobe", C.c_bool),
    ]


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
    """The interface of all libbpf calls: `Native`, or in a test a stand-in that fails the n-th call."""

    path: str

    def __call__(self, name: str, *arguments: Any) -> Any: ...

    def pointer(self, what: str, name: str, *arguments: Any) -> int: ...

    def check(self, what: str, name: str, *arguments: Any) -> int: ...

    def map_memory(self, fd: int, size: int) -> mmap.mmap: ...


class IterTask(C.Structure):
    """`union bpf_iter_link_info`, as its member `task` padded to the size of the longest member."""

    _fields_ = [("tid", U32), ("pid", U32), ("pid_fd", U32), ("unused", U32)]


class IterOpts(C.Structure):
    """`struct bpf_iter_attach_opts`."""

    _fields_ = [("sz", SIZE), ("link_info", PTR), ("link_info_len", U32)]


def fix_mmap_threshold() -> None:
    """Keep malloc from raising its mmap threshold when libbpf frees large blocks, which would retain megabytes of heap.

    Setting M_MMAP_THRESHOLD disables the dynamic adjustment: mallopt(3).
    """
    mallopt = getattr(LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def trim_heap() -> None:
    """Return unused pages of the heap to the kernel."""
    trim = getattr(LIBC, "malloc_trim", None)
    if trim is not None:
        trim(SIZE(0))


class Native:
    """The loaded libbpf."""

    def __init__(self, path: str) -> None:
        self.path = path
        library, locked = C.CDLL(path, use_errno=True), C.PyDLL(path, use_errno=True)
        self._functions: dict[str, Callable[..., Any]] = {}
        for name, (restype, argtypes) in PROTOTYPES.items():
            function = (locked if name in KEEP_GIL else library)[name]
            function.restype, function.argtypes = restype, argtypes
            self._functions[name] = function
        self._log: list[str] = []
        self._vsnprintf = LIBC["vsnprintf"]
        self._vsnprintf.argtypes = [STR, SIZE, STR, PTR]
        fix_mmap_threshold()
        self._printer = PRINT_FN(self._on_print)
        self("libbpf_set_print", self._printer)

    def __call__(self, name: str, *arguments: Any) -> Any:
        return self._functions[name](*arguments)

    def pointer(self, what: str, name: str, *arguments: Any) -> int:
        """Call a function that returns a pointer. Raises BpfError for NULL."""
        self._log.clear()
        result = self(name, *arguments)
        if not result:
            raise BpfError(what, C.get_errno(), log=self._log_tail())
        return int(result)

    def check(self, what: str, name: str, *arguments: Any) -> int:
        """Call a function that returns an int. Raises BpfError for a negative one."""
        self._log.clear()
        result = int(self(name, *arguments))
        if result < 0:
            raise BpfError(what, -result, log=self._log_tail())
        return result

    def map_memory(self, fd: int, size: int) -> mmap.mmap:
        """Map a BPF map's memory, shared with the kernel. Raises OSError."""
        return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def _log_tail(self, lines: int = 80) -> str:
        """Return the last lines that libbpf logged during the last checked call, where the verifier's verdict is."""
        return "\n".join("".join(self._log).rstrip().splitlines()[-lines:])

    def _on_print(self, level: int, fmt: bytes, arguments: int) -> int:
        if level >= PRINT_DEBUG:  # formatting the debug log takes longer than the load itself
            return 0
        try:
            buffer = C.create_string_buffer(LOG_LINE_BYTES)
            self._vsnprintf(buffer, len(buffer), fmt, arguments)
            self._log.append(buffer.value.decode("utf-8", "replace"))
            del self._log[:-LOG_LINES]
        # An exception that leaves a ctypes callback returns garbage to libbpf.
        except Exception as err:
            self._log.append(f"log line lost: {err}\n")
        return 0


def _candidates() -> list[str]:
    chosen = checkout_variable("SCX_GAMER_LIBBPF")
    if chosen:
        return [chosen]
    top = Path(__file__).resolve().parents[2]
    # of a checkout, and of a system extension, which cannot count on the system's
    own = [*sorted((top / "build/sysroot/usr/lib").glob("**/libbpf.so.1")), top / "lib/libbpf.so.1"]
    return [*map(str, own), "libbpf.so.1"]


def version_of(path: str) -> tuple[int, int]:
    """Return (major, minor) of a libbpf. Raises OSError if it cannot be loaded."""
    library = C.CDLL(path)
    return int(library["libbpf_major_version"]()), int(library["libbpf_minor_version"]())


_stand_ins: list[Calls] = []


@contextmanager
def stand_in(calls: Calls) -> Iterator[None]:
    """Use `calls` instead of the real libbpf inside the block."""
    _stand_ins.append(calls)
    try:
        yield
    finally:
        _stand_ins.remove(calls)


def native() -> Calls:
    """Return the process's libbpf or its stand-in. Raises LibbpfTooOld."""
    return _stand_ins[-1] if _stand_ins else real()


@cache
def real() -> Native:
    """Return the process's libbpf. Raises LibbpfTooOld with the versions found if none is 1.4 or later."""
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

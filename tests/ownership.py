# SPDX-License-Identifier: GPL-2.0-or-later
"""Detectors of mistakes in ownership: a kernel that keeps a book of its handles and fails the call it is told to."""

from __future__ import annotations

import ctypes as C
import errno
import mmap
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scx_gamer.libbpf._native import PTR, Native
from scx_gamer.libbpf.errors import BpfError

# What each handle is, who makes it and who ends it.
MAKES = {
    "bpf_object__open_file": "object",
    "bpf_map__attach_struct_ops": "link",
    "bpf_program__attach": "link",
    "bpf_program__attach_cgroup": "link",
    "bpf_program__attach_iter": "link",
    "ring_buffer__new": "ring",
    "user_ring_buffer__new": "user ring",
    "btf__load_vmlinux_btf": "btf",
}
ENDS = {
    "bpf_object__close": "object",
    "bpf_link__destroy": "link",
    "ring_buffer__free": "ring",
    "user_ring_buffer__free": "user ring",
    "btf__free": "btf",
}
USES = ("bpf_object__", "bpf_link__", "ring_buffer__", "user_ring_buffer__", "btf__find")
# Parts of an object, which go with it.
PARTS = {"bpf_object__next_map", "bpf_object__next_program"}
USES_PART = ("bpf_map__", "bpf_program__")
TAKES_FD = {
    "bpf_map_lookup_elem": 0,
    "bpf_map_update_elem": 0,
    "bpf_map_delete_elem": 0,
    "bpf_map_get_next_key": 0,
    "bpf_prog_test_run_opts": 0,
    "bpf_map__reuse_fd": 1,
    "ring_buffer__new": 0,
    "user_ring_buffer__new": 0,
    "bpf_obj_get_info_by_fd": 0,
    "bpf_program__attach_cgroup": 1,
    "bpf_prog_query": 0,
    "bpf_prog_detach2": 1,
    "bpf_link_detach": 0,
    "bpf_iter_create": 0,
}
# Cannot fail, or their failure is an answer and no fault.
NEVER_FAIL = {
    "libbpf_set_print",
    "bpf_object__btf",
    "btf__raw_data",
    *PARTS,
    "bpf_map__name",
    "bpf_map__fd",
    "bpf_map__type",
    "bpf_map__key_size",
    "bpf_map__value_size",
    "bpf_map__max_entries",
    "bpf_program__name",
    "bpf_program__fd",
    "bpf_link__fd",
    "ring_buffer__epoll_fd",
    "user_ring_buffer__submit",
    "btf__type_by_id",
    "btf__name_by_offset",
    "btf__find_by_name_kind",
    "bpf_map_get_next_key",
    "bpf_map_lookup_elem",
    *(set(ENDS) - {"bpf_link__destroy"}),
}


@dataclass(frozen=True)
class Violation:
    """One of the nine classes, and the call that showed it."""

    kind: str
    call: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.call}"


class Book:
    """Stands in for `Native`: passes calls on, unless they would be a mistake or are the one to fail."""

    def __init__(self, real: Native, fail_at: int = 0) -> None:
        self.path = real.path
        self._real = real
        self._fail_at = fail_at
        self.calls: list[str] = []  # those that could fail
        self.failed = ""
        self.violations: list[Violation] = []
        self._live: dict[int, str] = {}
        self._dead: dict[int, str] = {}
        self._part_of: dict[int, int] = {}

    # ---- the calls of Native -------------------------------------------------------------------

    def __call__(self, name: str, *arguments: Any) -> Any:
        if not self._sane(name, arguments):
            return 0
        fails = self._is_to_fail(name)
        if fails and name != "bpf_link__destroy":
            return self._failure(name)
        result = self._real(name, *arguments)
        self._note(name, arguments, result)
        return -errno.EIO if fails else result

    def pointer(self, what: str, name: str, *arguments: Any) -> int:
        result = self(name, *arguments)
        if not result:
            raise BpfError(what, C.get_errno())
        return int(result)

    def check(self, what: str, name: str, *arguments: Any) -> int:
        result = int(self(name, *arguments))
        if result < 0:
            raise BpfError(what, -result)
        return result

    def map_memory(self, fd: int, size: int) -> mmap.mmap:
        if fd < 0:
            self._violation("fd sentinel", "map_memory")
        if self._is_to_fail("map_memory"):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return self._real.map_memory(fd, size)

    # ---- the book --------------------------------------------------------------------------------

    def live(self) -> Counter[str]:
        """Handles that nobody has ended, by kind."""
        return Counter(self._live.values())

    def close(self) -> list[Violation]:
        """The whole account: what was seen, and a leak for each handle still alive."""
        return [*self.violations, *(Violation("leak", kind) for kind in self._live.values())]

    def _violation(self, kind: str, call: str) -> None:
        self.violations.append(Violation(kind, call))

    def _sane(self, name: str, arguments: tuple[Any, ...]) -> bool:
        """False for a call that must not reach libbpf: it would damage this process."""
        handle = arguments[0] if arguments else 0
        if name in TAKES_FD and int(arguments[TAKES_FD[name]]) < 0:
            self._violation("fd sentinel", name)
            return False
        if name in ENDS:
            return self._may_end(name, int(handle or 0))
        if name.startswith(USES_PART) and name not in MAKES:
            owner = self._part_of.get(handle)
            if owner is not None and owner not in self._live:
                self._violation("use after move", name)
                return False
        if name.startswith(USES) and name not in MAKES and handle in self._dead:
            self._violation("use after move", name)
            return False
        return True

    def _may_end(self, name: str, handle: int) -> bool:
        wanted = ENDS[name]
        if not handle:
            self._violation("uninitialised cleanup", name)
        elif handle in self._dead:
            self._violation("double free", name)
        elif handle not in self._live:
            self._violation("uninitialised cleanup", name)
        elif self._live[handle] != wanted:
            self._violation("wrong element destructor", f"{name} of a {self._live[handle]}")
        else:
            return True
        return False

    def _note(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        if name in MAKES and result:
            self._live[int(result)] = MAKES[name]
            self._dead.pop(int(result), None)  # the allocator gives addresses again
        elif name in ENDS:
            self._dead[int(arguments[0])] = self._live.pop(int(arguments[0]))
        elif name in PARTS and result:
            self._part_of[int(result)] = int(arguments[0])

    def _is_to_fail(self, name: str) -> bool:
        if name in NEVER_FAIL:
            return False
        self.calls.append(name)
        if len(self.calls) != self._fail_at:
            return False
        self.failed = name
        return True

    def _failure(self, name: str) -> Any:
        from scx_gamer.libbpf._native import PROTOTYPES

        restype = PROTOTYPES[name][0] if name in PROTOTYPES else C.c_int
        if restype is PTR:
            C.set_errno(errno.ENOSPC if name == "user_ring_buffer__reserve" else errno.ENOMEM)
            return None
        return -errno.ENOMEM


def locks_held() -> set[str]:
    """Advisory file locks of this process, as /proc/locks has them."""
    mine = str(os.getpid())
    found = set()
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if len(words) > 5 and words[4] == mine:
            found.add(" ".join(words[1:]))
    return found


def broken_contract(resource: Any) -> str:
    """Return the faults of a resource's close(), which must work twice and raise nothing; empty if there are none."""
    for attempt in ("first", "second"):
        try:
            resource.close()
        except Exception as err:  # whatever it raises is the finding
            return f"the {attempt} close raised {type(err).__name__}: {err}"
    return ""

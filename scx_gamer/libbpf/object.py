# SPDX-License-Identifier: GPL-2.0-or-later
"""BPF objects, their maps and programs, and the links that keep a program attached."""

from __future__ import annotations

import ctypes as C
import errno
import mmap
import os
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from scx_gamer.libbpf import kernel
from scx_gamer.libbpf._native import (
    IterOpts,
    IterTask,
    KprobeMultiOpts,
    OpenOpts,
    TestRunOpts,
    native,
    trim_heap,
)
from scx_gamer.libbpf.abi import Abi, Layout, Mapped, format_code
from scx_gamer.libbpf.btf import Btf, Field, object_btf
from scx_gamer.libbpf.errors import BpfError
from scx_gamer.system.closing import Closing


@cache
def find_object(name: str) -> Path:
    """Return the path of a BPF object: of the checkout's build, else of the package. Raises BpfError."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "build" / "bpf", package / "bpf"):
        path = folder / f"{name}.bpf.o"
        if path.exists():
            return path
    raise BpfError(
        f"BPF object {name} is not built", hint="run make bpf, or install the package again"
    )


def shipped_abi() -> Abi:
    """Return the constants and structs of the objects that are installed. Raises BpfError."""
    return Abi(object_btf(find_object("observe")))


class Link(Closing):
    """An attachment, which ends with `close` or with the process."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @property
    def fd(self) -> int:
        if not self._handle:
            raise BpfError("the link is closed")
        return int(native()("bpf_link__fd", self._handle))

    def close(self) -> None:
        handle, self._handle = self._handle, 0
        if handle:
            native().check("closing a link", "bpf_link__destroy", handle)


@dataclass(slots=True)
class _Owner:
    """The state that an object shares with its maps and programs. These do not refer to the object itself, because a
    reference cycle would keep all of them in memory until the next GC pass."""

    path: Path
    btf: Btf
    handle: int

    def require_open(self, what: str) -> None:
        """Raise BpfError if the object is closed."""
        if not self.handle:
            raise BpfError(f"{what}: {self.path.name} is closed")


class Map:
    """A map of an open object. Keys and values are bytes in the kernel's layout. Methods raise BpfError."""

    def __init__(self, owner: _Owner, handle: int) -> None:
        self._owner, self._raw = owner, handle
        self.name = bytes(native()("bpf_map__name", handle)).decode()

    @property
    def _handle(self) -> int:
        self._owner.require_open(f"map {self.name}")
        return self._raw

    @property
    def fd(self) -> int:
        """The file descriptor. Raises BpfError if the object is not loaded."""
        fd = int(native()("bpf_map__fd", self._handle))
        if fd < 0:
            raise BpfError(f"map {self.name} is not loaded")
        return fd

    @property
    def type(self) -> int:
        return int(native()("bpf_map__type", self._handle))

    @property
    def key_size(self) -> int:
        return int(native()("bpf_map__key_size", self._handle))

    @property
    def value_size(self) -> int:
        return int(native()("bpf_map__value_size", self._handle))

    @property
    def max_entries(self) -> int:
        return int(native()("bpf_map__max_entries", self._handle))

    def set_max_entries(self, count: int) -> None:
        """Set the number of entries, before the load only."""
        native().check(
            f"map {self.name}: {count} entries", "bpf_map__set_max_entries", self._handle, count
        )

    def reuse_fd(self, fd: int) -> None:
        """Use an existing map instead of creating one. The caller keeps `fd`; the map has a duplicate."""
        native().check(f"map {self.name}: reuse", "bpf_map__reuse_fd", self._handle, fd)

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise BpfError(f"map {self.name}: a key has {self.key_size} bytes, not {len(key)}")
        return key

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""
        value = C.create_string_buffer(self.value_size)
        result = native()("bpf_map_lookup_elem", self.fd, self._key(key), value)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise BpfError(f"map {self.name}: lookup", -result)
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Write the value of a key."""
        if len(value) != self.value_size:
            raise BpfError(
                f"map {self.name}: a value has {self.value_size} bytes, not {len(value)}"
            )
        native().check(
            f"map {self.name}: update", "bpf_map_update_elem", self.fd, self._key(key), value, flags
        )

    def delete(self, key: bytes) -> bool:
        """Delete a key. Return False if there was no such key."""
        result = native()("bpf_map_delete_elem", self.fd, self._key(key))
        if result < 0 and result != -errno.ENOENT:
            raise BpfError(f"map {self.name}: delete", -result)
        return bool(result == 0)

    def keys(self) -> Iterator[bytes]:
        """Yield all keys. A concurrent deletion may restart the iteration, so collect them in a set."""
        current: bytes | None = None
        following = C.create_string_buffer(self.key_size)
        for _ in range(2 * self.max_entries + 1):
            if native()("bpf_map_get_next_key", self.fd, current, following) < 0:
                return
            current = following.raw
            yield current

    def mapped(self, struct_name: str) -> Mapped:
        """Map an array of structs into this process, for access without system calls. The caller closes it."""
        layout = Layout(self._owner.btf, struct_name)
        if layout.struct.size != self.value_size:
            raise BpfError(
                f"map {self.name} has values of {self.value_size} bytes, struct {struct_name} {layout.struct.size}",
                hint="rebuild the objects together with make bpf",
            )
        stride = (self.value_size + 7) & ~7
        size = (stride * self.max_entries + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1)
        try:
            memory = native().map_memory(self.fd, size)
        except OSError as err:
            raise BpfError(f"map {self.name}: mmap", err.errno or 0) from err
        return Mapped(memory, layout, stride, self.max_entries)

    def write_initial(self, writes: Iterable[tuple[int, bytes]]) -> None:
        """Write bytes at offsets into the value that the map will have after the load."""
        size = C.c_size_t()
        address = native().pointer(self.name, "bpf_map__initial_value", self._handle, C.byref(size))
        memory = memoryview((C.c_char * size.value).from_address(address)).cast("B")
        for offset, data in writes:
            memory[offset : offset + len(data)] = data

    def attach_struct_ops(self) -> Link:
        """Register a struct_ops map. Raises BpfError, with EBUSY if another scheduler is loaded."""
        return Link(
            native().pointer(f"attaching {self.name}", "bpf_map__attach_struct_ops", self._handle)
        )


class Program:
    """A program of an open object. Methods raise BpfError."""

    def __init__(self, owner: _Owner, handle: int) -> None:
        self._owner, self._raw = owner, handle
        self.name = bytes(native()("bpf_program__name", handle)).decode()

    @property
    def _handle(self) -> int:
        self._owner.require_open(f"program {self.name}")
        return self._raw

    @property
    def fd(self) -> int:
        """The file descriptor. Raises BpfError if the program is not loaded."""
        fd = int(native()("bpf_program__fd", self._handle))
        if fd < 0:
            raise BpfError(f"program {self.name} is not loaded")
        return fd

    def set_autoload(self, on: bool) -> None:
        """Choose whether load() loads the program; before the load only."""
        native().check(
            f"program {self.name}: autoload", "bpf_program__set_autoload", self._handle, on
        )

    def attach(self) -> Link:
        """Attach to the hook of the program's section name."""
        section = bytes(native()("bpf_program__section_name", self._handle))
        kind, _, function = section.partition(b"/")
        if kind in (b"kprobe.multi", b"kretprobe.multi"):
            return self._attach_function(function, at_return=kind == b"kretprobe.multi")
        return Link(native().pointer(f"attaching {self.name}", "bpf_program__attach", self._handle))

    def _attach_function(self, function: bytes, *, at_return: bool) -> Link:
        """Attach to a function that the kernel finds: libbpf reads /proc/kallsyms, which takes CAP_SYSLOG."""
        names = (C.c_char_p * 1)(function)
        opts = KprobeMultiOpts(
            C.sizeof(KprobeMultiOpts), C.addressof(names), cnt=1, retprobe=at_return
        )
        return Link(
            native().pointer(
                f"attaching {self.name}", "bpf_program__attach_kprobe_multi_opts", self._handle, None,
                C.addressof(opts),
            )
        )  # fmt: skip

    def attach_cgroup(self, cgroup_fd: int) -> Link:
        """Attach to a cgroup by a link, which ends with this process."""
        return Link(
            native().pointer(
                f"attaching {self.name}", "bpf_program__attach_cgroup", self._handle, cgroup_fd
            )
        )

    def iterate_task(self, tgid: int) -> bytes:
        """Run an iterator program over one process and return its output."""
        info = IterTask(pid=tgid)
        opts = IterOpts(C.sizeof(IterOpts), C.addressof(info), C.sizeof(info))
        handle = native().pointer(
            f"attaching {self.name}", "bpf_program__attach_iter", self._handle, C.addressof(opts)
        )
        with Link(handle) as link:
            fd = native().check(f"running {self.name}", "bpf_iter_create", link.fd)
            try:
                output = b""
                while part := os.read(fd, 65536):
                    output += part
                return output
            except OSError as err:
                raise BpfError(f"running {self.name}", err.errno or 0) from err
            finally:
                os.close(fd)

    def runner(self) -> Runner:
        """Return a callable that runs the program, with its options allocated once."""
        return Runner(self.name, self.fd)


class Runner:
    """A callable that runs a `syscall` program. A call takes about 3 us."""

    def __init__(self, name: str, fd: int) -> None:
        self._name, self._fd = name, fd
        self._opts = TestRunOpts(sz=C.sizeof(TestRunOpts))
        self._pointer = C.addressof(self._opts)
        self._native = native()

    def __call__(self) -> int:
        """Run the program and return its result. Raises BpfError."""
        result = self._native("bpf_prog_test_run_opts", self._fd, self._pointer)
        if result < 0:
            raise BpfError(f"running {self._name}", -result)
        return int(self._opts.retval)


class Object(Closing):
    """An open BPF object file. close() releases its maps and programs; the kernel keeps those still in use."""

    def __init__(self, path: Path, btf: Btf, handle: int) -> None:
        self.path, self.btf = path, btf
        self._owner = owner = _Owner(path, btf, handle)
        self._loaded = False
        self.maps: Mapping[str, Map] = MappingProxyType(
            {m.name: m for m in (Map(owner, h) for h in self._walk("bpf_object__next_map"))}
        )
        self.programs: Mapping[str, Program] = MappingProxyType(
            {p.name: p for p in (Program(owner, h) for h in self._walk("bpf_object__next_program"))}
        )

    @classmethod
    def loaded(
        cls,
        path: Path,
        programs: Collection[str] | None = None,
        shared: Mapping[str, Map] = MappingProxyType({}),
    ) -> Object:
        """Open and load an object file, with these of its programs alone if they are given. Raises BpfError."""
        obj = cls.open(path)
        try:
            for name, program in obj.programs.items():
                program.set_autoload(programs is None or name in programs)
            obj.load(shared)
        except BaseException:
            obj.close()
            raise
        return obj

    @classmethod
    def open(cls, path: Path) -> Object:
        """Open and parse an object file. Raises BpfError."""
        options = OpenOpts(sz=C.sizeof(OpenOpts), object_name=path.name.split(".")[0].encode()[:15])
        handle = native().pointer(
            f"opening {path}", "bpf_object__open_file", os.fsencode(path), C.addressof(options)
        )
        try:
            # libbpf's copy of the BTF: the compiler leaves the offsets of variables 0, and libbpf fills them in.
            size = C.c_uint32()
            blob = native()("bpf_object__btf", handle)
            data = native()("btf__raw_data", blob, C.byref(size)) if blob else None
            if not data:
                raise BpfError(f"{path} has no BTF", hint="build it with make bpf")
            return cls(path, Btf(C.string_at(data, size.value)), handle)
        except BaseException:
            native()("bpf_object__close", handle)
            raise

    def _walk(self, function: str) -> Iterator[int]:
        handle = native()(function, self._owner.handle, None)
        while handle:
            yield handle
            handle = native()(function, self._owner.handle, handle)

    def set_rodata(self, **values: int | Sequence[int]) -> None:
        """Write constants of `.rodata`. Raises BpfError for an unknown name, a value that does not fit, or a loaded
        object, whose memory is read-only."""
        self._owner.require_open("rodata")
        if self._loaded:
            raise BpfError("rodata cannot change after the load")
        section = next((m for name, m in self.maps.items() if name.endswith(".rodata")), None)
        if section is None:
            raise BpfError(f"{self.path.name} has no .rodata")
        variables = self.btf.variables(".rodata")
        writes: list[tuple[int, bytes]] = []  # check all of them before the first write
        for name, value in values.items():
            field = variables.get(name)
            if field is None:
                raise BpfError(f"{self.path.name} has no constant {name}")
            elements = [value] if isinstance(value, int) else value
            if len(elements) > (field.count or 1):
                raise BpfError(
                    f"constant {name} has {field.count or 1} elements, not {len(elements)}"
                )
            writes.append(_packed(f"constant {name}", field, elements))
        section.write_initial(writes)

    def set_struct_ops(self, map_name: str, struct_name: str, **members: int) -> None:
        """Write scalar members of a struct_ops map, before the load only. Raises BpfError."""
        self._owner.require_open(map_name)
        if self._loaded:
            raise BpfError(f"{map_name} cannot change after the load")
        fields = self.btf.struct(struct_name).fields
        self.maps[map_name].write_initial(
            [_packed(f"{map_name}.{name}", fields[name], [v]) for name, v in members.items()]
        )

    def load(self, shared: Mapping[str, Map] = MappingProxyType({})) -> None:
        """Create the maps, but for those that `shared` has by the same name, and verify the programs.

        Raises BpfError with the end of the verifier's log.
        """
        self._owner.require_open("load")
        for name in self.maps.keys() & shared.keys():
            self.maps[name].reuse_fd(shared[name].fd)
        try:
            native().check(f"loading {self.path.name}", "bpf_object__load", self._owner.handle)
        except BpfError as err:
            if err.errno != errno.ESRCH or kernel.BTF.exists():
                raise
            # libbpf reports a missing BTF as a missing type (ESRCH)
            raise BpfError(
                err.what, hint=f"{kernel.BTF} does not exist: {kernel.BTF_HINT}"
            ) from None
        finally:
            trim_heap()  # parsing the kernel's BTF took megabytes, and malloc would keep them
        self._loaded = True

    def close(self) -> None:
        handle, self._owner.handle = self._owner.handle, 0
        if handle:
            native()("bpf_object__close", handle)
            trim_heap()


def _packed(what: str, field: Field, values: Sequence[int]) -> tuple[int, bytes]:
    """Return the offset of a field and the bytes of its first elements. Raises BpfError."""
    try:
        return field.offset, struct.pack(f"<{len(values)}{format_code(field)}", *values)
    except struct.error as err:
        raise BpfError(f"{what}: {err}") from err


@contextmanager
def attaching(
    name: str, shared: Mapping[str, Map] = MappingProxyType({})
) -> Iterator[tuple[Object, ExitStack]]:
    """Load an object for the block that prepares its maps, and attach all of its programs after it. Raises BpfError.

    The stack owns the object and its links. It is closed on any failure, else by the caller.
    """
    stack = ExitStack()
    try:
        obj = stack.enter_context(Object.loaded(find_object(name), shared=shared))
        yield obj, stack
        for program in obj.programs.values():
            stack.enter_context(program.attach())
    except BaseException:
        stack.close()
        raise

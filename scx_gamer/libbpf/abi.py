# SPDX-License-Identifier: GPL-2.0-or-later
"""Constants and structs of `abi.h`, read from the BTF of a BPF object."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from scx_gamer.libbpf.btf import Btf, Field, StructLayout
from scx_gamer.libbpf.errors import BpfError
from scx_gamer.system.closing import Closing

_CODES = {
    (1, False): "B",
    (2, False): "H",
    (4, False): "I",
    (8, False): "Q",
    (1, True): "b",
    (2, True): "h",
    (4, True): "i",
    (8, True): "q",
}


def format_code(field: Field) -> str:
    """Return the `struct` format code of one element. Raises BpfError if it is not a number."""
    code = _CODES.get((field.size, field.signed))
    if code is None:
        raise BpfError(f"{field.name} is not a number")
    return code


def text_of(raw: bytes) -> str:
    """Decode a C string up to its first NUL, with bytes that are not UTF-8 as escapes."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class _Codec:
    """The `struct.Struct` of a flat struct, its member names in order, and those of char arrays."""

    packer: struct.Struct
    names: tuple[str, ...]
    texts: frozenset[str]


class Abi:
    """Constants by name, and packing of flat structs."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.constants: dict[str, int] = {}
        self._enums = [
            dict(values) for name, values in btf.enums().items() if name.startswith("scxg_")
        ]
        for values in self._enums:
            self.constants.update(values)
        self._codecs: dict[str, _Codec] = {}

    def __getitem__(self, name: str) -> int:
        """Return the value of `SCXG_<name>`. Raises BpfError."""
        value = self.constants.get(f"SCXG_{name}")
        if value is None:
            raise BpfError(
                f"the object's BTF has no constant SCXG_{name}", hint="rebuild it with make bpf"
            )
        return value

    def names(self, enum: str) -> dict[int, str]:
        """Return value → short name of an enum such as `class`, where `SCXG_CLASS_GAME` is `game`.

        Only an enum counts whose names all begin so (or with `SCXG_NR_`), because limits may share the prefix.
        """
        start = f"SCXG_{enum.upper()}_"
        return {
            value: name[len(start) :].lower()
            for values in self._enums
            if all(name.startswith((start, "SCXG_NR_")) for name in values)
            for name, value in values.items()
            if name.startswith(start)
        }

    def size(self, name: str) -> int:
        """Return the size of a struct in bytes."""
        return self._codec(name).packer.size

    def pack(self, name: str, **fields: int) -> bytes:
        """Pack a struct; omitted fields are 0. Raises BpfError for an unknown field or a value that does not fit."""
        codec = self._codec(name)
        unknown = fields.keys() - set(codec.names)
        if unknown:
            raise BpfError(f"struct {name} has no field {min(unknown)}")
        try:
            return codec.packer.pack(
                *(fields.get(n, b"" if n in codec.texts else 0) for n in codec.names)
            )
        except struct.error as err:
            raise BpfError(f"struct {name}: {err}") from err

    def unpack(self, name: str, raw: bytes | memoryview) -> dict[str, int | str]:
        """Unpack a struct's fields. Raises BpfError if `raw` is too short."""
        codec = self._codec(name)
        if len(raw) < codec.packer.size:
            raise BpfError(f"struct {name} needs {codec.packer.size} bytes, got {len(raw)}")
        values = codec.packer.unpack_from(raw)
        return {
            n: text_of(v) if n in codec.texts else v
            for n, v in zip(codec.names, values, strict=True)
        }

    def _codec(self, name: str) -> _Codec:
        codec = self._codecs.get(name)
        if codec is None:
            codec = self._codecs[name] = _flat_codec(self.btf.struct(name))
        return codec


def _flat_codec(layout: StructLayout) -> _Codec:
    fmt, at = "<", 0
    texts = set()
    for field in layout.fields.values():
        if field.offset > at:
            fmt += f"{field.offset - at}x"
        if field.char and field.count:
            fmt += f"{field.count}s"
            texts.add(field.name)
        elif field.count:
            raise BpfError(
                f"struct {layout.name}: cannot pack the array {field.name}: map the struct instead"
            )
        else:
            fmt += format_code(field)
        at = field.offset + field.size * (field.count or 1)
    if layout.size > at:
        fmt += f"{layout.size - at}x"
    return _Codec(struct.Struct(fmt), tuple(layout.fields), frozenset(texts))


@dataclass(frozen=True, slots=True)
class _Place:
    """A resolved path: byte offset and `struct` format."""

    offset: int
    packer: struct.Struct


class Layout:
    """Resolver of paths such as `lane[1].until_ns` into one struct; results are cached."""

    def __init__(self, btf: Btf, name: str) -> None:
        self._btf = btf
        self.struct = btf.struct(name)
        self._places: dict[str, _Place] = {}

    def place(self, path: str) -> _Place:
        """Return the place of a path. Raises BpfError."""
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = self._resolve(path)
        return place

    def _resolve(self, path: str) -> _Place:
        layout, offset = self.struct, 0
        parts = path.replace("[", ".[").split(".")
        while parts:
            field = layout.fields.get(parts.pop(0))
            if field is None:
                raise BpfError(f"struct {self.struct.name} has no member {path}")
            offset, count = offset + field.offset, field.count
            if count and parts and parts[0].startswith("["):
                index = int(parts.pop(0)[1:-1])
                if not 0 <= index < count:
                    raise BpfError(f"struct {self.struct.name}: {path} is out of range")
                offset, count = offset + index * field.size, 0
            if not parts:
                code = "s" if field.char and count else format_code(field)
                return _Place(offset, struct.Struct(f"<{count or ''}{code}"))
            layout = self._btf.struct_by_id(field.type_id)
        raise BpfError(f"struct {self.struct.name}: empty path")


class StructView:
    """A struct inside a mapping. Reads and writes are memory accesses, without system calls."""

    __slots__ = ("_base", "_layout", "_memory")

    def __init__(self, memory: mmap.mmap, base: int, layout: Layout) -> None:
        self._memory, self._base, self._layout = memory, base, layout

    def get(self, path: str) -> int:
        """Return one number."""
        return int(self.array(path)[0])

    def array(self, path: str) -> tuple[int, ...]:
        """Return all elements of an array of numbers, flattened."""
        place = self._layout.place(path)
        return place.packer.unpack_from(self._memory, self._base + place.offset)

    def text(self, path: str) -> str:
        """Return a char array as text."""
        place = self._layout.place(path)
        return text_of(place.packer.unpack_from(self._memory, self._base + place.offset)[0])

    def set(self, path: str, value: int) -> None:
        """Write one number. Raises BpfError if it does not fit."""
        place = self._layout.place(path)
        try:
            place.packer.pack_into(self._memory, self._base + place.offset, value)
        except struct.error as err:
            raise BpfError(f"{path}: {err}") from err


class Mapped(Closing):
    """A mapped array of structs; it owns the mapping."""

    def __init__(self, memory: mmap.mmap, layout: Layout, stride: int, count: int) -> None:
        self._memory: mmap.mmap | None = memory
        self._layout, self._stride, self._count = layout, stride, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> StructView:
        if self._memory is None:
            raise BpfError(f"the mapping of {self._layout.struct.name} is closed")
        if not 0 <= index < self._count:
            raise IndexError(index)
        return StructView(self._memory, index * self._stride, self._layout)

    def __iter__(self) -> Iterator[StructView]:
        return (self[i] for i in range(self._count))

    def close(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

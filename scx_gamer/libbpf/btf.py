# SPDX-License-Identifier: GPL-2.0-or-later
"""Parser of the BTF of our BPF objects, for the layout of structs shared between kernel and Python."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.libbpf.errors import BpfError

MAGIC, VERSION = 0xEB9F, 1
# include/uapi/linux/btf.h
KIND_INT, KIND_PTR, KIND_ARRAY, KIND_STRUCT, KIND_UNION, KIND_ENUM = 1, 2, 3, 4, 5, 6
KIND_TYPEDEF, KIND_VOLATILE, KIND_CONST, KIND_RESTRICT = 8, 9, 10, 11
KIND_FUNC, KIND_FUNC_PROTO, KIND_VAR, KIND_DATASEC = 12, 13, 14, 15
KIND_DECL_TAG, KIND_TYPE_TAG, KIND_ENUM64 = 17, 18, 19
_TRANSPARENT = {KIND_TYPEDEF, KIND_VOLATILE, KIND_CONST, KIND_RESTRICT, KIND_TYPE_TAG}
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Field:
    """A member or variable: offset and element size in bytes. `count` is 0 for a scalar, else the number of elements
    in all dimensions of an array."""

    name: str
    offset: int
    size: int
    signed: bool
    count: int
    type_id: int
    char: bool


@dataclass(frozen=True, slots=True)
class StructLayout:
    """A struct: size in bytes and members by name, in order."""

    name: str
    size: int
    fields: dict[str, Field]


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    kind: int
    vlen: int
    kflag: bool
    size_or_type: int
    at: int  # offset of the data that follows struct btf_type


class Btf:
    """The types of a BTF blob. Raises BpfError if the blob is truncated or not BTF."""

    def __init__(self, raw: bytes) -> None:
        try:
            self._parse(raw)
        except (struct.error, IndexError, ValueError) as err:
            raise BpfError(f"cannot parse BTF: {err}") from err

    def _parse(self, raw: bytes) -> None:
        magic, version, _flags, header, type_off, type_len, str_off, str_len = struct.unpack_from(
            "<HBBIIIII", raw
        )
        if magic != MAGIC or version != VERSION:
            raise BpfError("cannot parse BTF: wrong magic or version")
        self._data = raw[header + type_off : header + type_off + type_len]
        self._strings = raw[header + str_off : header + str_off + str_len]
        self._types: list[_Type] = [_Type("", 0, 0, False, 0, 0)]
        self._by_name: dict[tuple[int, str], int] = {}
        at = 0
        while at < len(self._data):
            name_off, info, size_or_type = struct.unpack_from("<III", self._data, at)
            kind, vlen, kflag = (info >> 24) & 0x1F, info & 0xFFFF, bool(info >> 31)
            name = self._string(name_off)
            self._by_name.setdefault((kind, name), len(self._types))
            self._types.append(_Type(name, kind, vlen, kflag, size_or_type, at + 12))
            at += 12 + self._extra(kind, vlen)
            if at > len(self._data):
                raise BpfError("cannot parse BTF: a type is truncated")

    @staticmethod
    def _extra(kind: int, vlen: int) -> int:
        if kind in (KIND_STRUCT, KIND_UNION, KIND_DATASEC, KIND_ENUM64):
            return 12 * vlen
        if kind in (KIND_ENUM, KIND_FUNC_PROTO):
            return 8 * vlen
        return {KIND_INT: 4, KIND_ARRAY: 12, KIND_VAR: 4, KIND_DECL_TAG: 4}.get(kind, 0)

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if end < 0:
            raise BpfError("cannot parse BTF: a name is outside of the string section")
        return self._strings[offset:end].decode("utf-8", "backslashreplace")

    def _resolve(self, type_id: int) -> tuple[int, _Type]:
        for _ in range(_MAX_DEPTH):
            if not 0 <= type_id < len(self._types):
                break
            found = self._types[type_id]
            if found.kind not in _TRANSPARENT:
                return type_id, found
            type_id = found.size_or_type
        raise BpfError("cannot parse BTF: a type refers to itself or to an unknown type")

    def _field(self, name: str, offset: int, type_id: int) -> Field:
        resolved, t = self._resolve(type_id)
        count = 0
        for _ in range(_MAX_DEPTH):
            if t.kind != KIND_ARRAY:
                break
            element, _index, length = struct.unpack_from("<III", self._data, t.at)
            count = (count or 1) * length
            resolved, t = self._resolve(element)
        signed = char = False
        if t.kind == KIND_INT:
            signed = bool(struct.unpack_from("<I", self._data, t.at)[0] >> 24 & 1)
            char = t.name == "char"
        size = 8 if t.kind == KIND_PTR else t.size_or_type
        return Field(name, offset, size, signed, count, resolved, char)

    def struct_by_id(self, type_id: int) -> StructLayout:
        """Return the layout of the struct with a type id. Raises BpfError."""
        _, t = self._resolve(type_id)
        if t.kind not in (KIND_STRUCT, KIND_UNION):
            raise BpfError(f"BTF type {t.name or type_id} is not a struct")
        fields: dict[str, Field] = {}
        for i in range(t.vlen):
            name_off, member, bits = struct.unpack_from("<III", self._data, t.at + 12 * i)
            name = self._string(name_off)
            fields[name] = self._field(name, (bits & 0xFFFFFF if t.kflag else bits) // 8, member)
        return StructLayout(t.name, t.size_or_type, fields)

    def struct(self, name: str) -> StructLayout:
        """Return the layout of a struct by name. Raises BpfError if there is none."""
        type_id = self._by_name.get((KIND_STRUCT, name))
        if type_id is None:
            raise BpfError(
                f"the object's BTF has no struct {name}", hint="rebuild it with make bpf"
            )
        return self.struct_by_id(type_id)

    def enums(self) -> dict[str, dict[str, int]]:
        """Return all named enums: name → enumerator → value."""
        return {
            t.name: dict(self._enumerators(t))
            for t in self._types
            if t.kind in (KIND_ENUM, KIND_ENUM64) and t.name
        }

    def _enumerators(self, t: _Type) -> Iterator[tuple[str, int]]:
        for i in range(t.vlen):
            if t.kind == KIND_ENUM:
                name_off, value = struct.unpack_from(
                    "<Ii" if t.kflag else "<II", self._data, t.at + 8 * i
                )
            else:
                name_off, low, high = struct.unpack_from("<III", self._data, t.at + 12 * i)
                value = high << 32 | low
            yield self._string(name_off), value

    def variables(self, section: str) -> dict[str, Field]:
        """Return the variables of a data section such as `.rodata`, with offsets within the section."""
        found: dict[str, Field] = {}
        type_id = self._by_name.get((KIND_DATASEC, section))
        if type_id is not None:
            t = self._types[type_id]
            for i in range(t.vlen):
                var, offset, _size = struct.unpack_from("<III", self._data, t.at + 12 * i)
                if var >= len(self._types):
                    raise BpfError("cannot parse BTF: a variable has an unknown type")
                name = self._types[var].name
                found[name] = self._field(name, offset, self._types[var].size_or_type)
        return found


def object_btf(path: Path) -> Btf:
    """Return the BTF of an ELF object file. Raises BpfError with the file's name."""
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise BpfError(
            f"cannot read {path}", err.errno or 0, hint="build it with make bpf"
        ) from err
    return Btf(elf_section(raw, ".BTF", str(path)))


def elf_section(raw: bytes, wanted: str, name: str) -> bytes:
    """Return a section of a 64-bit little-endian ELF file. Raises BpfError if the file or the section is missing."""
    if raw[:6] != b"\x7fELF\x02\x01":
        raise BpfError(f"{name} is not a 64-bit little-endian ELF object")
    try:
        (table,) = struct.unpack_from("<Q", raw, 40)
        entry_size, count, strings_at = struct.unpack_from("<HHH", raw, 58)
        entries = [struct.unpack_from("<IIQQQQ", raw, table + i * entry_size) for i in range(count)]
        _, _, _, _, names_off, names_len = entries[strings_at]
        names = raw[names_off : names_off + names_len]
        for name_off, _type, _flags, _address, offset, size in entries:
            if names[name_off : names.index(0, name_off)] == wanted.encode():
                return raw[offset : offset + size]
    except (struct.error, IndexError, ValueError, OverflowError) as err:
        raise BpfError(f"{name}: the ELF file is truncated or damaged") from err
    raise BpfError(f"{name} has no section {wanted}", hint="rebuild it with make bpf")

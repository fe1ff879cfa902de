# SPDX-License-Identifier: GPL-2.0-or-later
"""CO-RE without booting: the types and kfuncs that our objects need, held against the BTF in a kernel's image.

python -m tests.core_check [KERNEL …]    names of kernels.toml (without one: all), or paths of a vmlinuz or of raw BTF

A field that no kernel of the matrix may lack, or have in a size that is read wrong, makes it fail, and so does a kernel
with no form of a kfunc in FORMS. Optional requests (flavours, existence checks, other weak kfuncs) are counted.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.libbpf.btf import (
    KIND_ENUM,
    KIND_ENUM64,
    KIND_FUNC,
    KIND_FUNC_PROTO,
    KIND_INT,
    KIND_PTR,
    KIND_STRUCT,
    KIND_UNION,
    Btf,
    elf_section,
    object_btf,
)
from scx_gamer.libbpf.errors import BpfError

TREE = Path(__file__).resolve().parents[1]
OBJECTS = ("observe", "sched", "netlimit", "threads", "frames", "flips", "interference", "fences")
# struct btf_header: magic, version 1, no flags, 24 bytes
_BTF_HEADER = b"\x9f\xeb\x01\0\x18\0\0\0"
# enum bpf_core_relo_kind
FIELD_EXISTS, LAST_FIELD_KIND = 2, 5
_LOADS_AND_STORES = (1, 2, 3)  # BPF_LDX, BPF_ST and BPF_STX of include/uapi/linux/bpf_common.h
_SCALARS = (KIND_INT, KIND_PTR, KIND_ENUM, KIND_ENUM64)
_KINDS = (KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_ENUM64)
# Arguments of a weak kfunc: where the kernel has not this type, it has not the kfunc, and nobody gets there.
WITH_THEIR_KFUNC = frozenset({"scx_bpf_dsq_insert_vtime_args"})
# Kfuncs that scheduling cannot do without: any of these externs of the scheduler, as compat.h declares them.
FORMS = {
    "insert": ("scx_bpf_dsq_insert", "scx_bpf_dsq_insert___bool", "scx_bpf_dispatch"),
    "insert by key": (
        "__scx_bpf_dsq_insert_vtime",
        "scx_bpf_dsq_insert_vtime",
        "scx_bpf_dispatch_vtime",
    ),
    "move to the local queue": (
        "scx_bpf_dsq_move_to_local___v2___flags",
        "scx_bpf_dsq_move_to_local",
        "scx_bpf_dsq_move_to_local___flags",
        "scx_bpf_consume",
    ),
}


@dataclass(frozen=True)
class Request:
    """One relocation: the type, the member path below it (empty for the type itself), whether it may be missing.

    `size` is the member's in bytes, 0 for no scalar. The kernel's must be the same if `exact`: libbpf adjusts loads and
    stores of unsigned integers and of pointers, and nothing else (bpf_core_calc_field_relo() in relo_core.c).
    """

    type_name: str
    path: tuple[str, ...]
    optional: bool
    size: int = 0
    exact: bool = False

    def __str__(self) -> str:
        path = ".".join((self.type_name, *self.path))
        return f"{path} of {self.size} bytes" if self.size else path


def image_btf(path: Path) -> bytes:
    """The BTF in a compressed kernel image, or the file itself when it is BTF already. Raises BpfError."""
    data = path.read_bytes()
    if data[:2] == b"\x9f\xeb":
        return data
    if (
        data[0x38:0x3C] == b"ARM\x64"
    ):  # Documentation/arch/arm64/booting.rst: the image is not compressed, and no ELF
        return _btf_within(data, path)
    for elf in _payloads(data):
        if elf[:4] == b"\x7fELF":
            return elf_section(elf, ".BTF", path.name)
    raise BpfError(f"{path}: no kernel with BTF in it")


def _btf_within(data: bytes, path: Path) -> bytes:
    """The longest BTF in the bytes, which is the kernel's own. Raises BpfError."""
    found = b""
    at = data.find(_BTF_HEADER)
    while 0 <= at <= len(data) - 24:
        types_at, types, strings_at, strings = struct.unpack_from("<IIII", data, at + 8)
        if types_at == 0 and strings_at == types and len(found) < 24 + types + strings:
            found = data[at : at + 24 + types + strings]
        at = data.find(_BTF_HEADER, at + 1)
    if not found:
        raise BpfError(f"{path}: no BTF in this arm64 image")
    return found


def _payloads(data: bytes) -> Iterator[bytes]:
    for magic, unpack in (
        (b"\x28\xb5\x2f\xfd", _zstd),
        (b"\xfd7zXZ\0", lambda raw: lzma.LZMADecompressor().decompress(raw)),
        (b"\x1f\x8b\x08", lambda raw: gzip.decompress(raw)),
    ):
        at = data.find(magic)
        while at >= 0:
            with suppress(OSError, EOFError, ValueError, lzma.LZMAError):  # else no magic after all
                yield unpack(data[at:])
            at = data.find(magic, at + 1)


def _zstd(raw: bytes) -> bytes:
    # what follows the frame in the image is rubbish to zstd, which then fails with all of the frame written
    done = subprocess.run(["zstd", "-dcq"], input=raw, capture_output=True, check=False)
    if len(done.stdout) < 1 << 20:
        raise ValueError("no frame")
    return done.stdout


def requests(path: Path) -> list[Request]:
    """The CO-RE records of an object. Raises BpfError."""
    raw = path.read_bytes()
    btf = Btf(elf_section(raw, ".BTF", path.name))
    ext = elf_section(raw, ".BTF.ext", path.name)
    _magic, _version, _flags, header = struct.unpack_from("<HBBI", ext)
    offset, length = struct.unpack_from("<II", ext, 8 + 16)
    at, found = header + offset, set()
    end = at + length
    (size,) = struct.unpack_from("<I", ext, at)
    at += 4
    while at < end:
        section, count = struct.unpack_from("<II", ext, at)
        code = elf_section(raw, btf._string(section), path.name)
        at += 8
        for _ in range(count):
            insn, type_id, access, kind = struct.unpack_from("<IIII", ext, at)
            at += size
            adjusts = code[insn] & 7 in _LOADS_AND_STORES
            found.add(_request(btf, type_id, btf._string(access), kind, adjusts))
    return sorted(found, key=lambda r: (r.type_name, r.path))


def _request(btf: Btf, type_id: int, access: str, kind: int, adjusts: bool) -> Request:
    _, t = btf._resolve(type_id)
    name, flavour, _ = t.name.partition("___")
    if kind > LAST_FIELD_KIND:  # types and enumerators: all of ours are asked for with a fallback
        return Request(name, (), True)
    path: list[str] = []
    size, exact = 0, False
    layout = btf.struct_by_id(type_id)
    for index in [int(n) for n in access.split(":")[1:]]:
        fields = list(layout.fields.values())
        if index >= len(fields):
            break
        field = fields[index]
        path.append(field.name)
        of = btf._types[field.type_id].kind
        size = field.size if of in _SCALARS else 0
        exact = not adjusts or field.signed or of not in (KIND_INT, KIND_PTR)
        try:
            layout = btf.struct_by_id(field.type_id)
        except BpfError:
            break
    optional = bool(flavour) or kind == FIELD_EXISTS or name in WITH_THEIR_KFUNC
    return Request(name, tuple(path), optional, size, exact)


def missing(kernel: Btf, wanted: list[Request]) -> list[Request]:
    """Requests that this kernel cannot answer."""
    return [request for request in wanted if not _answers(kernel, request)]


def _answers(kernel: Btf, request: Request) -> bool:
    type_id = next(
        (found for kind in _KINDS if (found := kernel._by_name.get((kind, request.type_name)))),
        None,
    )
    if type_id is None:
        return False
    for name in request.path:
        member = _member(kernel, type_id, name)
        if member is None:
            return False
        type_id = member
    there = kernel._field("", 0, type_id)
    return request.size in (0, there.size) or not (request.exact or there.signed)


def _member(kernel: Btf, type_id: int, name: str, depth: int = 0) -> int | None:
    """Type id of a member; members of unnamed structs and unions count as the outer's own."""
    _, t = kernel._resolve(type_id)
    if t.kind not in (KIND_STRUCT, KIND_UNION) or depth > 6:
        return None
    members = [
        struct.unpack_from("<II", kernel._data, t.at + 12 * number) for number in range(t.vlen)
    ]
    for name_off, member in members:
        if kernel._string(name_off) == name:
            return int(member)
    for name_off, member in members:
        if not kernel._string(name_off):
            found = _member(kernel, member, name, depth + 1)
            if found is not None:
                return found
    return None


def _prototype(btf: Btf, name: str) -> tuple[bool, int] | None:
    """Whether a function returns a value, and its number of arguments; None without such a function."""
    type_id = btf._by_name.get((KIND_FUNC, name))
    if type_id is None:
        return None
    proto = btf._types[btf._types[type_id].size_or_type]
    if proto.kind != KIND_FUNC_PROTO:
        return None
    return proto.size_or_type != 0, proto.vlen


def forms(kernel: Btf, obj: Btf) -> dict[str, list[str]]:
    """The forms of each needed kfunc that libbpf would resolve on this kernel. Raises KeyError on a form that the
    object does not declare."""
    found: dict[str, list[str]] = {}
    for what, externs in FORMS.items():
        found[what] = []
        for extern in externs:
            declared = _prototype(obj, extern)
            if declared is None:
                raise KeyError(f"the scheduler declares no {extern}")
            # As libbpf: the last ___flavour is not part of the name, and a prototype that differs does not count.
            if _prototype(kernel, extern.rpartition("___")[0] or extern) == declared:
                found[what].append(extern)
    return found


def main(arguments: list[str]) -> int:
    from tests.vm.vmlib.kernels import find, foreign, image, images, names

    bad = 0
    wanted = {name: requests(TREE / f"build/bpf/{name}.bpf.o") for name in OBJECTS}
    for name in arguments or [*names(), *foreign(), *images()]:
        path = Path(name) if "/" in name else image(name) if name in images() else find(name).image
        kernel = Btf(image_btf(path))
        resolved = forms(kernel, object_btf(TREE / "build/bpf/sched.bpf.o"))
        bad += sum(not externs for externs in resolved.values())
        for what, externs in resolved.items():
            print(f"{name} sched: {what}: {', '.join(externs) or 'NO FORM'}", flush=True)
        for obj, asked in wanted.items():
            lacks = missing(kernel, asked)
            fatal = [r for r in lacks if not r.optional]
            bad += len(fatal)
            print(f"{name} {obj}: {len(asked)} relocations, {len(lacks) - len(fatal)} answered by a fallback"
                  + "".join(f"; no {r}" for r in fatal), flush=True)  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages to bytes and back, by dbus-next; frames cut out of a stream, by us."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import struct
import sys
import types
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from scx_gamer.dbus import SYSTEM_BUS, BusError

MAX_FRAME = 64 * 1024  # the longest call that is read; a longer one is answered unread
_FIXED = 16
_PROTOCOL = 1
_MAX_SIGNATURES = 256  # dbus-next keeps each signature it ever saw; strangers choose them


@cache
def library() -> types.SimpleNamespace:
    """Return the parts of dbus-next that know the format. Raises BusError without dbus-next.

    Its package imports asyncio, GLib and, for services, a decorator that `typing` loses in Python 3.15. None of it is
    needed here, so the package's own start-up code is left out and its modules are imported one by one.
    """
    if "dbus_next" not in sys.modules:
        spec = importlib.util.find_spec("dbus_next")
        if spec is None or not spec.submodule_search_locations:
            raise BusError("dbus-next is not installed", hint="install python3-dbus-next")
        package = types.ModuleType("dbus_next")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["dbus_next"] = package
    importlib.import_module("dbus_next.errors")  # first: it and the messages import each other
    from dbus_next._private import constants, marshaller, unmarshaller
    from dbus_next.constants import MessageFlag, MessageType
    from dbus_next.introspection import Node
    from dbus_next.message import Message
    from dbus_next.signature import SignatureTree, Variant

    return types.SimpleNamespace(
        HeaderField=constants.HeaderField,
        Marshaller=marshaller.Marshaller,
        Unmarshaller=unmarshaller.Unmarshaller,
        MessageFlag=MessageFlag,
        MessageType=MessageType,
        Node=Node,
        Message=Message,
        SignatureTree=SignatureTree,
        Variant=Variant,
    )


@cache
def introspection() -> str:
    """Return the interface as XML, which Introspect answers and which calls are checked against."""
    return Path(__file__).with_name("introspection.xml").read_text("utf-8")


def parents(paths: Iterable[str]) -> dict[str, str]:
    """Return the introspection data of the paths above objects."""
    children: dict[str, str] = {}
    for path in paths:
        above = ""
        for name in path[1:].split("/"):
            children[above or "/"] = children.get(above or "/", "") + f'<node name="{name}"/>'
            above += f"/{name}"
    return {above: f"<node>{nodes}</node>" for above, nodes in children.items()}


def call(
    destination: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    body: list[Any] | None = None,
    *,
    interactive: bool = False,
    start: bool = False,
) -> Any:
    """Return a method call. `start`: the bus may start the service for it."""
    lib = library()
    flags = lib.MessageFlag.NONE if start else lib.MessageFlag.NO_AUTOSTART
    if interactive:
        flags |= lib.MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
    return lib.Message(
        destination=destination,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=body or [],
        flags=flags,
    )


def to_bus(member: str, signature: str = "", body: list[Any] | None = None) -> Any:
    """Return a call of the bus itself."""
    name = "org.freedesktop.DBus"
    return call(name, "/org/freedesktop/DBus", name, member, signature, body)


def encode(message: Any, serial: int) -> bytes:
    """Encode a message. Its own method leaves a reference cycle, and input would wait for the GC pass."""
    lib = library()
    message.serial = serial
    body = _marshal(message.signature, message.body)
    field, variant = lib.HeaderField, lib.Variant
    fields = [
        [code.value, variant(kind, value)]
        for code, kind, value in (
            (field.PATH, "o", message.path),
            (field.INTERFACE, "s", message.interface),
            (field.MEMBER, "s", message.member),
            (field.ERROR_NAME, "s", message.error_name),
            (field.REPLY_SERIAL, "u", message.reply_serial),
            (field.DESTINATION, "s", message.destination),
            (field.SIGNATURE, "g", message.signature),
        )
        if value
    ]
    kinds = (message.message_type.value, message.flags.value)
    head = _marshal("yyyyuua(yv)", [ord("l"), *kinds, _PROTOCOL, len(body), serial, fields])
    return head + bytes(-len(head) & 7) + body


def _marshal(signature: str, values: list[Any]) -> bytes:
    one = library().Marshaller(signature, values)
    try:
        return bytes(one.marshall())
    finally:
        one.writers.clear()  # its own methods: with them it would refer to itself


def decode(frame: bytes) -> Any:
    """Return the message of a whole frame. Raises BusError if it is malformed."""
    lib = library()
    if len(lib.SignatureTree._cache) > _MAX_SIGNATURES:
        lib.SignatureTree._cache.clear()
    one = lib.Unmarshaller(io.BytesIO(frame))
    try:
        message = one.unmarshall()
    except Exception as err:  # whatever a stranger's bytes do to the parser
        raise BusError(f"a message that is none: {type(err).__name__}: {err}") from err
    finally:
        one.readers.clear()  # its own methods: with them it would refer to itself
    if message is None:
        raise BusError("half a message")
    return message


def serial_of(frame: bytes) -> int:
    """Return the serial that an answer to this message names."""
    return int(struct.unpack_from("<I" if frame[:1] == b"l" else ">I", frame, 8)[0])


_SENDER = 7  # code of the header field


def sender_of(frame: bytes) -> str:
    """Return who sent a message, without decoding it; empty where the header has no such field that makes sense."""
    number = struct.Struct("<I" if frame[:1] == b"l" else ">I").unpack_from
    try:
        at, end = _FIXED, _FIXED + number(frame, 12)[0]
        while at < end:
            at += -at & 7
            code, kind = frame[at], frame[at + 2 : at + 4]
            at += 4
            if kind == b"g\0":
                at += frame[at] + 2
                continue
            at += -at & 3
            if kind == b"u\0":
                at += 4
                continue
            if kind not in (b"s\0", b"o\0"):
                return ""
            length = number(frame, at)[0]
            if code == _SENDER:
                return frame[at + 4 : at + 4 + length].decode("ascii", "replace")
            at += length + 5
    except (struct.error, IndexError):
        pass
    return ""


def without_body(frame: bytes) -> bytes:
    """Return the message without its body, enough to tell its sender and its request."""
    order = "<" if frame[:1] == b"l" else ">"
    _, _, header = struct.unpack_from(f"{order}III", frame, 4)
    end = _FIXED + header + (-header & 7)
    return frame[:4] + bytes(4) + frame[8:end]


class Frames:
    """Cuts a stream into messages. A body that makes a frame too long is dropped as it comes."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> None:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._buffer += data[skipped:]

    def next(self) -> tuple[bytes, bool] | None:
        """Return (frame, whole) of the next message, None if more bytes are needed. Not whole: its body was too long.

        Raises BusError when the stream makes no sense any more."""
        buffer = self._buffer
        if len(buffer) < _FIXED:
            return None
        if buffer[0] not in b"lB" or buffer[3] != _PROTOCOL:
            raise BusError("the bus speaks another protocol")
        order = "<" if buffer[0] == ord("l") else ">"
        body, _, header = struct.unpack_from(f"{order}III", buffer, 4)
        head = _FIXED + header + (-header & 7)
        if head > MAX_FRAME or body > 1 << 27:
            raise BusError("a message without end")
        whole = head + body <= self._limit
        needed = head + body if whole else head
        if len(buffer) < needed:
            return None
        frame = bytes(buffer[:needed])
        del buffer[:needed]
        if not whole:
            dropped = min(body, len(buffer))
            del buffer[:dropped]
            self._skip = body - dropped
        return frame, whole


def bus_socket() -> str:
    """Return the path of the system bus's socket, "\\0…" for an abstract one. Raises BusError for other transports."""
    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
    for one in address.split(";"):
        transport, _, options = one.partition(":")
        values = dict(pair.split("=", 1) for pair in options.split(",") if "=" in pair)
        if transport == "unix" and "path" in values:
            return values["path"]
        if transport == "unix" and "abstract" in values:
            return "\0" + values["abstract"]
    raise BusError(f"the bus address {address} is no unix socket")


def hello() -> bytes:
    """Return the opening of a connection, which names our uid: the kernel confirms it."""
    return b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n"

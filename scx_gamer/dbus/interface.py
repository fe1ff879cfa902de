# SPDX-License-Identifier: GPL-2.0-or-later
"""introspection.xml as a table: what can be called, with which arguments, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from scx_gamer.dbus import BUS_NAME, old_name, wire


@dataclass(frozen=True)
class Member:
    """A method or a signal; signatures as D-Bus writes them."""

    takes: str
    gives: str


@dataclass(frozen=True)
class Interface:
    methods: dict[str, Member]
    signals: dict[str, Member]
    properties: dict[str, str]


@cache
def interfaces() -> dict[str, Interface]:
    """Return the interfaces by name, in the order of the file; ours under their deprecated names too."""
    found = parse(wire.introspection())
    return found | {old_name(name): one for name, one in found.items()}


def parse(xml: str) -> dict[str, Interface]:
    """Return the interfaces of introspection data by name."""
    node = wire.library().Node.parse(xml)
    return {
        one.name: Interface(
            {m.name: Member(m.in_signature, m.out_signature) for m in one.methods},
            {s.name: Member("", s.signature) for s in one.signals},
            {p.name: p.signature for p in one.properties},
        )
        for one in node.interfaces
    }


def own() -> dict[str, Interface]:
    """Return the interfaces that are ours, not the bus's."""
    return {name: one for name, one in interfaces().items() if name.startswith(BUS_NAME)}

# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of the bus that nobody means well by. As a program: sends them, and says what became of them.

python hostile.py SEED COUNT [right]    With `right`, well-formed calls that would change something are among them.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH, SESSION_INTERFACE, wire
from scx_gamer.dbus.client import BusClient
from scx_gamer.dbus.interface import interfaces

# The last three: files that a test watches.
TEXTS = (
    "", "auto", "../../etc/shadow", "/etc/passwd", "x" * 500, "\u202e", "%s%n", "gaming\n[tunables]",
    "/run/sentinel/x", "/run/sentinel/x.toml", "../../../../../run/sentinel/x",
)  # fmt: skip
NUMBERS = (0, 1, 2, 2**22, 2**31, 2**32 - 1)
CHANGES = (
    "Start", "Stop", "Restart", "Reload", "SetProfile", "HoldProfile", "ReleaseProfile", "AddGame", "RemoveGame",
)  # fmt: skip


def values(rng: random.Random) -> dict[str, Callable[[], Any]]:
    """Return what makes a value of each type."""
    lib = wire.library()
    return {
        "s": lambda: rng.choice(TEXTS),
        "u": lambda: rng.choice(NUMBERS),
        "b": lambda: rng.random() < 0.5,
        "v": lambda: lib.Variant("s", "x"),
        "as": lambda: ["x"] * rng.randint(0, 50),
        "a{sv}": lambda: {"k": lib.Variant("u", 1)},
        "ay": lambda: rng.randbytes(rng.randint(0, 200)),
        "(uu)": lambda: [1, 2],
        "d": lambda: float("nan"),
    }


def messages(rng: random.Random, *, right: bool = False) -> Iterator[Any]:
    """Without end. A call that is right, which by chance some are, comes with `right` alone."""
    lib = wire.library()
    known = interfaces()
    members = [
        *known[INTERFACE].methods, *known[SESSION_INTERFACE].methods, "x", "Nope", "Get", "Set", "GetAll", "Introspect",
    ]  # fmt: skip
    makers = values(rng)
    while True:
        member = rng.choice(members)
        interface = rng.choice([INTERFACE, *known, "org.example.X", None])
        path = rng.choice(["/", OBJECT_PATH, OBJECT_PATH, "/a/b"])
        pieces = [rng.choice(list(makers)) for _ in range(rng.randint(0, 4))]
        if right and rng.random() < 0.1:
            member, interface, path = rng.choice(CHANGES), INTERFACE, OBJECT_PATH
            pieces = list(known[INTERFACE].methods[member].takes)
        signature, body = "".join(pieces), [makers[p]() for p in pieces]
        names = [interface] if interface else list(known)
        found = [one for n in names if (one := known.get(n)) is not None]
        methods = [one.methods[member] for one in found if member in one.methods]
        if not right and path == OBJECT_PATH and any(m.takes == signature for m in methods):
            continue
        yield lib.Message(
            destination=BUS_NAME, path=path, interface=interface, member=member, signature=signature, body=body,
        )  # fmt: skip


def attack(client: BusClient, calls: Iterator[Any], count: int) -> Counter[str]:
    """Send them, some at a time; how many ended how: `answered`, or the name of the error."""
    kinds = wire.library().MessageType
    ends: Counter[str] = Counter()
    for number in range(count):
        client._serial += 1
        client._sock.sendall(wire.encode(next(calls), client._serial))
        if number % 50 == 49 or number == count - 1:
            while sum(ends.values()) <= number:
                answer = client.receive()
                if answer.message_type in (kinds.METHOD_RETURN, kinds.ERROR):
                    ends[answer.error_name or "answered"] += 1
    return ends


def main() -> None:
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    with BusClient(580) as client:
        calls = messages(random.Random(seed), right="right" in sys.argv)
        print(json.dumps(attack(client, calls, count)))


if __name__ == "__main__":
    main()

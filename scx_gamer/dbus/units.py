# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties of systemd's units, held while a game runs: MemoryLow= of the game's units, IOWeight= of others.

systemd ends none of them with the connection that set it. So what was there before is in a file before anything is
changed, and whoever finds the file gives it back: the supervisor that ends, the next one, and the unit's ExecStopPost=,
whose supervisor may have been killed. The file holds for its own boot, as the properties do.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scx_gamer.dbus import BusError, wire
from scx_gamer.dbus.client import BusClient
from scx_gamer.dbus.connection import Connection
from scx_gamer.dbus.endpoint import PROPERTIES
from scx_gamer.system.files import write_atomic

log = logging.getLogger(__name__)

SYSTEMD = "org.freedesktop.systemd1"
MANAGER, SYSTEMD_PATH = f"{SYSTEMD}.Manager", "/org/freedesktop/systemd1"
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}\.(slice|scope|service)")
MEMORY_LOW, IO_WEIGHT = "MemoryLow", "IOWeight"
_UNSET = (1 << 64) - 1  # of a weight, which then is the default; of MemoryLow, "infinity"
_DEFAULT_WEIGHT = 100
_MAX_ROWS = 64
MAX_FILE_BYTES = 64 << 10
_TIMEOUT_S = 10.0  # polkit is asked
_GIVE_BACK_S = 5.0  # half of the unit's TimeoutStopSec

Key = tuple[str, str]  # unit and property
Rows = dict[Key, tuple[int, int]]  # the value before, and the one that was set


def units_of(cgroup: str) -> tuple[str, ...]:
    """Return the units of the system's systemd that a cgroup is in, the outermost first.

    The first one that is no slice is the last: what is below, as below user@1000.service, another manager made.
    """
    found: list[str] = []
    for name in cgroup.strip("/").split("/"):
        match = _UNIT.fullmatch(name)
        if match is None:
            break
        found.append(name)
        if match[1] != "slice":
            break
    return tuple(found)


def helps(name: str, before: int, value: int) -> bool:
    """Return True if `value` is more than what there is: neither protection nor restraint is ever made less."""
    if name == MEMORY_LOW:
        return value > before
    return value < (_DEFAULT_WEIGHT if before == _UNSET else before)


def parse(raw: bytes, boot: str) -> Rows:
    """Read the rows of a file, none of another boot's; raises ValueError for what no supervisor has written."""
    found = json.loads(raw)
    if not isinstance(found, dict) or found.keys() != {"boot", "held"}:
        raise ValueError("not a table of properties")
    rows = found["held"]
    if not isinstance(rows, list) or len(rows) > _MAX_ROWS:
        raise ValueError("not a list of properties")
    held: Rows = {}
    for row in rows:
        if not isinstance(row, list) or [type(v) for v in row] != [str, str, int, int]:
            raise ValueError("a property is malformed")
        unit, name, before, value = row
        if not _UNIT.fullmatch(unit) or name not in (MEMORY_LOW, IO_WEIGHT):
            raise ValueError("a property is not ours")
        if not (0 <= before <= _UNSET and 0 <= value <= _UNSET):
            raise ValueError("a value is out of range")
        held[unit, name] = before, value
    return held if boot and found["boot"] == boot else {}


class HeldFile:
    """The file of held properties; absent while there are none."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path, self._boot = path, boot

    def load(self) -> Rows:
        """Return the rows of this boot; none of a file that is unusable."""
        try:
            with self._path.open("rb") as file:
                return parse(file.read(MAX_FILE_BYTES), self._boot)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as err:
            log.error("%s is unusable: %s", self._path, err)
            return {}

    def save(self, rows: Rows) -> None:
        """Raises OSError. Nothing is synced: a crash of the machine ends the properties too."""
        if not rows:
            self._path.unlink(missing_ok=True)
            return
        held = [[*key, *values] for key, values in rows.items()]
        data = json.dumps({"boot": self._boot, "held": held}).encode()
        write_atomic(self._path, data, 0o644, sync=False)


def place_of(unit: str) -> tuple[str, str]:
    """Return the object path and the interface of a unit's properties."""
    escaped = "".join(
        c if c.isascii() and c.isalnum() and (c.isalpha() or i) else f"_{ord(c):02x}"
        for i, c in enumerate(unit)
    )
    return f"{SYSTEMD_PATH}/unit/{escaped}", f"{SYSTEMD}.{unit.rpartition('.')[2].capitalize()}"


def set_body(key: Key, value: int) -> list[Any]:
    unit, name = key
    runtime = True
    return [unit, runtime, [[name, wire.library().Variant("t", value)]]]


def is_gone(error: str) -> bool:
    """Return True for a unit that is no more, a closed session's: its properties went with it."""
    return error.partition(":")[0] == f"{SYSTEMD}.NoSuchUnit"


def give_back(path: Path, boot: str) -> str:
    """Give back what the file names, and wait for it; return why something is left, empty if nothing is."""
    file = HeldFile(path, boot)
    rows, why = file.load(), ""
    try:
        if rows:
            with BusClient(_GIVE_BACK_S) as client:
                for key, (before, _) in tuple(rows.items()):
                    try:
                        client.call(
                            "SetUnitProperties", "sba(sv)", set_body(key, before),
                            interface=MANAGER, destination=SYSTEMD, path=SYSTEMD_PATH,
                        )  # fmt: skip
                    except BusError as err:
                        if not is_gone(err.name):
                            why = f"{' '.join(key)} is not given back: {err}"
                            continue
                    del rows[key]
    except BusError as err:
        why = str(err)
    try:
        file.save(rows)
    except OSError as err:
        why = why or f"{path}: {err.strerror}"
    return why


class UnitHold:
    """Follows want() as far as there is a bus and systemd lets us; `why` says what keeps it from that."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path, self._boot = path, boot
        self._file = HeldFile(path, boot)
        # A killed supervisor's are ours now, to keep or to give back.
        self._rows = self._file.load()
        self._wanted: dict[Key, int] = {}
        # Of the rows: in the file, but perhaps not set, because it was killed there.
        self._unsure: set[Key] = set()
        # Wanted, and at least as good without us; or not to be given back now.
        self._left: set[Key] = set()
        self._bus: Connection | None = None
        self._waiting = False
        self.why = ""

    def connected(self, bus: Connection) -> None:
        self._bus, self._unsure = bus, set(self._rows)
        self._again()

    def lost(self) -> None:
        """Keep what is held: it is systemd's, not the connection's."""
        self._bus, self._waiting = None, False

    def want(self, wanted: Mapping[Key, int]) -> None:
        """Hold these values from now on. A failure is not tried again before others are wanted."""
        if wanted != self._wanted:
            self._wanted = dict(wanted)
            self._again()

    def held(self) -> list[dict[str, object]]:
        return [
            {"unit": unit, "property": name, "value": value, "before": before}
            for (unit, name), (before, value) in self._rows.items()
        ]

    def close(self) -> None:
        """Give everything back, and wait for it."""
        if self._rows and (why := give_back(self._path, self._boot)):
            log.error("%s; the next start tries it again", why)
        self._rows = self._file.load()

    def _again(self) -> None:
        self.why = ""
        self._left.clear()
        self._follow()

    def _follow(self) -> None:
        """Take one step towards what is wanted, what is to be given back first; the answer takes the next one."""
        if self._bus is None or self._waiting:
            return
        for key, (before, value) in self._rows.items():
            if self._wanted.get(key) != value:
                if key not in self._left:
                    self._set(key, before, self._given_back)
                    return
            elif key in self._unsure:
                self._unsure.remove(key)
                self._set(key, value, self._taken)
                return
        if self.why:
            return
        for key in self._wanted:
            if key not in self._rows and key not in self._left:
                self._look(key)
                return

    def _call(self, message: Any, then: Any) -> None:
        assert self._bus is not None
        self._waiting = True

        def answered(reply: Any, error: str) -> None:
            self._waiting = False
            then(reply, error)
            self._follow()

        self._bus.call(message, answered, _TIMEOUT_S)

    def _look(self, key: Key) -> None:
        path, interface = place_of(key[0])
        message = wire.call(SYSTEMD, path, PROPERTIES, "Get", "ss", [interface, key[1]])
        self._call(message, lambda reply, error: self._seen(key, reply, error))

    def _seen(self, key: Key, reply: Any, error: str) -> None:
        if reply is None or reply.signature != "v" or reply.body[0].signature != "t":
            self._fail(key, error or "systemd gives no number")
            return
        before = int(reply.body[0].value)
        value = self._wanted.get(key)
        if value is None:
            return  # not any more
        if not helps(key[1], before, value):
            self._left.add(key)
            return
        try:
            self._file.save({**self._rows, key: (before, value)})
        except OSError as err:
            self._fail(key, f"{self._path}: {err.strerror}")
            return
        self._rows[key] = before, value
        self._set(key, value, self._taken)

    def _set(self, key: Key, value: int, then: Any) -> None:
        message = wire.call(
            SYSTEMD, SYSTEMD_PATH, MANAGER, "SetUnitProperties", "sba(sv)",
            set_body(key, value),
        )  # fmt: skip
        self._call(message, lambda reply, error: then(key, reply, error))

    def _taken(self, key: Key, reply: Any, error: str) -> None:
        if reply is not None:
            return
        self._fail(key, error)
        if error.startswith("org.") and ".NoReply:" not in error:  # refused: nothing was changed
            self._forget(key)

    def _given_back(self, key: Key, reply: Any, error: str) -> None:
        if reply is not None or is_gone(error):
            self._forget(key)
        else:
            self._left.add(key)
            self._fail(key, error, "given back")

    def _forget(self, key: Key) -> None:
        self._rows.pop(key, None)
        # An error is told when the next one is taken; what is given back twice is given back.
        with suppress(OSError):
            self._file.save(self._rows)

    def _fail(self, key: Key, error: str, what: str = "held") -> None:
        self.why = f"{' '.join(key)} is not {what}: {error}"
        log.warning("%s", self.why)

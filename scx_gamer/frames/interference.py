# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that had the CPU which a thread of the game waited for, and the waits of programs of class background."""

from __future__ import annotations

from scx_gamer.libbpf import Abi, attaching
from scx_gamer.observe.observer import Observer

_MAP = "programs"


class Interference:
    """The hooks that charge waits to programs, from open to close. Methods raise BpfError."""

    def __init__(self, observe: Observer) -> None:
        with attaching("interference", observe.maps) as (obj, self._stack):
            self._abi, self._map = Abi(obj.btf), obj.maps[_MAP]
            self._classes = observe.abi.names("class")
            # further programs are charged to this entry once the map is full
            self._map.update(bytes(self._map.key_size), bytes(self._map.value_size))

    def read(self) -> dict[tuple[str, str], dict[str, int]]:
        """Return struct scxg_interference by the name of a program and of its class."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for raw in set(self._map.keys()):
            value = self._map.lookup(raw)
            if value is not None:
                key = self._abi.unpack("scxg_program", raw)
                counts = self._abi.unpack("scxg_interference", value)
                found[str(key["name"]), self._classes[int(key["class_id"])]] = {
                    name: int(count) for name, count in counts.items()
                }
        return found

    def close(self) -> None:
        """Unload the hooks. Idempotent."""
        self._stack.close()

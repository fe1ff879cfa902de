# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that had the CPU which a thread of the game waited for, and the waits of programs of class background."""

from __future__ import annotations

from contextlib import ExitStack

from scx_gamer.libbpf import Abi, Object, find_object
from scx_gamer.observe.observer import SHARED, Observer

_MAP = "programs"


class Interference:
    """The hooks that charge waits to programs, from open to close. Methods raise BpfError."""

    def __init__(self, observe: Observer) -> None:
        with ExitStack() as stack:
            obj = stack.enter_context(Object.open(find_object("interference")))
            for name in SHARED:
                if name in obj.maps:
                    obj.maps[name].reuse_fd(observe.maps[name].fd)
            obj.load()
            self._abi, self._map = Abi(obj.btf), obj.maps[_MAP]
            self._classes = observe.abi.names("class")
            # further programs are charged to this entry once the map is full
            self._map.update(bytes(self._map.key_size), bytes(self._map.value_size))
            for program in obj.programs.values():
                stack.callback(program.attach().close)
            self._stack = stack.pop_all()

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

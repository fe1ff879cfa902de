# SPDX-License-Identifier: GPL-2.0-or-later
"""The observer: hooks on processes and input, the rings, and the maps shared with the scheduler."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from scx_gamer.libbpf import (
    Abi,
    BpfError,
    Map,
    Object,
    RingBuffer,
    StructView,
    UserRing,
    find_object,
)
from scx_gamer.libbpf.kernel import prog_info
from scx_gamer.observe.control_ring import ControlRing
from scx_gamer.system.loop import Loop

log = logging.getLogger(__name__)

REQUIRED = "drain"
_BATCH = 256  # events handled in one pass

Event = dict[str, int | str]


def working_hooks(path: Path, wanted: frozenset[str]) -> tuple[frozenset[str], dict[str, str]]:
    """Return the optional programs that load on this kernel, and the errors of the others. Each one is tried alone."""
    refused: dict[str, str] = {}
    for name in sorted(wanted):
        try:
            Object.loaded(path, {name}).close()
        except BpfError as err:
            refused[name] = err.with_reason()
    return wanted - refused.keys(), refused


def load_hooks(
    path: Path,
    without: Collection[str] = (),
    required: frozenset[str] = frozenset(),
    shared: Mapping[str, Map] = MappingProxyType({}),
) -> tuple[Object, frozenset[str], dict[str, str]]:
    """Load all programs that this kernel takes; return the object, the optional ones in it, and errors of the others.

    Raises BpfError if those that are `required` cannot be loaded.
    """
    with Object.open(path) as found:
        wanted = frozenset(found.programs) - required.union(without)
    try:
        return Object.loaded(path, wanted | required, shared), wanted, {}
    except BpfError:
        usable, refused = working_hooks(path, wanted)
        return Object.loaded(path, usable | required, shared), usable, refused


class Observer:
    """The BPF object that outlives schedulers. Raises BpfError if the drain program cannot be loaded."""

    def __init__(self, loop: Loop, *, kernel_input: bool = True, path: Path | None = None) -> None:
        path = path or find_object("observe")
        self._loop = loop
        self._handlers: dict[int, list[Callable[[Event], None]]] = {}
        self.events_stale = 0
        self.events_unknown = 0
        with ExitStack() as stack:
            without = () if kernel_input else ("on_input", "on_inject")
            self.object, self.hooks, self.unavailable = load_hooks(
                path, without, frozenset({REQUIRED})
            )
            stack.enter_context(self.object)
            self.maps = self.object.maps
            self.abi = Abi(self.object.btf)
            self._names = {
                value: name.removeprefix("SCXG_EV_")
                for name, value in self.abi.constants.items()
                if name.startswith("SCXG_EV_") and value
            }
            self.events = Counter(dict.fromkeys(self._names.values(), 0))
            self.control = self._map("control", "scxg_control", stack)
            self.windows = self._map("windows", "scxg_windows", stack)
            self.tunables = self._map("tunables", "scxg_tunables", stack)
            self.ring = RingBuffer(self.maps["events"], self._on_event)
            stack.callback(self.ring.close)
            producer = UserRing(self.maps["control_ring"])
            stack.callback(producer.close)
            self.feed = ControlRing(producer, self.object.programs[REQUIRED].runner(), self.abi)
            self._attach(stack)
            loop.add_fd(self.ring.epoll_fd, self._on_readable, name="event ring")
            stack.callback(loop.remove_fd, self.ring.epoll_fd)
            self._stack = stack.pop_all()

    def _map(self, name: str, struct: str, stack: ExitStack) -> StructView:
        return stack.enter_context(self.maps[name].mapped(struct))[0]

    def _attach(self, stack: ExitStack) -> None:
        attached = set()
        for name in sorted(self.hooks):
            try:
                stack.callback(self.object.programs[name].attach().close)
                attached.add(name)
            except BpfError as err:
                self.unavailable[name] = err.with_reason()
        self.hooks = frozenset(attached)
        for name, why in self.unavailable.items():
            log.warning("optional BPF program %s could not be loaded: %s", name, why)

    def missed(self, hook: str) -> int:
        """Return the number of events for which the kernel skipped this hook, because it was running on that CPU."""
        return int(prog_info(self.object.programs[hook].fd)["recursion_misses"])

    def on(self, event: str, handler: Callable[[Event], None]) -> None:
        """Register a handler for events of a type, such as `EXIT`."""
        self._handlers.setdefault(self.abi.constants[f"SCXG_EV_{event}"], []).append(handler)

    def _on_readable(self, _fd: int) -> None:
        self.ring.consume(_BATCH)

    def _on_event(self, data: bytes) -> None:
        # version and type are the first members in every ABI version; unknown events are not decoded
        version = int.from_bytes(data[0:2], "little")
        number = int.from_bytes(data[2:4], "little")
        name = self._names.get(number)
        if name is None or version != self.abi.constants["SCXG_ABI_VERSION"]:
            self.events_unknown += 1
            return
        self.events[name] += 1
        handlers = self._handlers.get(number)
        if not handlers:
            return
        event = self.abi.unpack("scxg_event", data)
        if event["generation"] != self.feed.generation:
            self.events_stale += 1
            # events of processes are valid in every generation
            if name not in ("EXIT", "FORK", "EXEC", "RENAME"):
                return
        for handler in handlers:
            handler(event)

    def set_generation(self, generation: int) -> None:
        """Start a generation of messages and events."""
        self.feed.new_generation(generation)
        self.control.set("generation", generation)

    def send_tunables(self, chosen: Mapping[str, int]) -> None:
        """Send every tunable, with its default unless chosen, because the policy depends on none being 0."""
        for name, index in self.abi.constants.items():
            if name.startswith("SCXG_TUN_"):
                name = name.removeprefix("SCXG_TUN_")
                default = self.abi.constants[f"SCXG_DEF_{name}"]
                self.feed.send("TUNABLE", index=index, value=chosen.get(name.lower(), default))
        self.feed.flush()

    def close(self) -> None:
        self._stack.close()

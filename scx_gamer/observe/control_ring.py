# SPDX-License-Identifier: GPL-2.0-only
"""The control ring's only producer: messages out, one drain run for each loop pass."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

# A state that the kernel must learn in the end is kept until it fits; an input that is late is
# worth nothing, and a lost heartbeat is followed by the next.
_KEPT = frozenset({"CLASS_SET", "CLASS_DEL", "FOCUS", "TUNABLE", "GAME_ACTIVE"})
_MAX_KEPT = 32768  # twice SCXG_MAX_CLASSES_TRACKED: beyond it something is broken
_MAX_DRAINS = 8  # drain runs in one flush


class Ring(Protocol):
    """What a user ring buffer offers."""

    def send(self, data: bytes) -> bool: ...


class MessageAbi(Protocol):
    """What the ABI offers."""

    constants: dict[str, int]

    def pack(self, name: str, **fields: int) -> bytes: ...


class Sender(Protocol):
    """What those who only tell the kernel need of the feed."""

    def send(self, type_name: str, **fields: int) -> bool: ...
    def flush(self) -> None: ...


class Feed:
    """Packs, counts and sends. `generation` is stamped into each message."""

    def __init__(
        self,
        ring: Ring,
        drain: Callable[[], int],
        abi: MessageAbi,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._ring = ring
        self._drain = drain
        self._abi = abi
        self._now_ns = now_ns
        self._version = abi.constants["SCXG_ABI_VERSION"]
        self._batch = abi.constants["SCXG_CONTROL_BATCH"]
        self._types = {
            name.removeprefix("SCXG_MSG_"): value
            for name, value in abi.constants.items()
            if name.startswith("SCXG_MSG_")
        }
        self._kept: deque[tuple[str, bytes]] = deque()
        self._dirty = False
        self.generation = 0
        self.sent: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()  # lost for good, by type
        self.full = 0  # times the ring had no room
        self.drains = 0

    def send(self, type_name: str, **fields: int) -> bool:
        """Queue one message; False when it is lost. KeyError for an unknown type."""
        fields.setdefault("time_ns", self._now_ns())
        data = self._pack(type_name, fields)
        kept = type_name in _KEPT
        # what is kept stays in order: a CLASS_DEL must not overtake its CLASS_SET
        if not (kept and self._kept) and self._push(type_name, data):
            return True
        if kept and len(self._kept) < _MAX_KEPT:
            self._kept.append((type_name, data))
            return True
        self.dropped[type_name] += 1
        return False

    def send_at_once(self, type_name: str, **fields: int) -> None:
        """Send one message that need not be kept and have it read, amid whatever else is being sent.

        What stands half written in the ring then holds it up until the next flush.
        """
        if self._push(type_name, self._pack(type_name, fields)):
            self._drain()
            self.drains += 1
        else:
            self.dropped[type_name] += 1

    def _pack(self, type_name: str, fields: dict[str, int]) -> bytes:
        number = self._types[type_name]
        return self._abi.pack(
            "scxg_msg", version=self._version, type=number, generation=self.generation, **fields
        )

    def _push(self, type_name: str, data: bytes) -> bool:
        if not self._ring.send(data):
            self.full += 1
            self._dirty = True
            return False
        self.sent[type_name] += 1
        self._dirty = True
        return True

    def flush(self) -> None:
        """Run the drain program if anything was sent; then whatever had to wait."""
        for _ in range(_MAX_DRAINS):
            if not self._dirty:
                return
            seen = self._drain()
            self.drains += 1
            self._dirty = seen >= self._batch  # one run is bounded: the rest is for the next
            while self._kept and self._push(*self._kept[0]):
                self._kept.popleft()

    @property
    def waiting(self) -> int:
        """State messages that wait for room."""
        return len(self._kept)

    def new_generation(self, generation: int) -> None:
        """Stamp `generation` from now on; what still waits belongs to the old one and goes."""
        self.flush()
        for type_name, _data in self._kept:
            self.dropped[type_name] += 1
        self._kept.clear()
        self.generation = generation

    def counters(self) -> dict[str, object]:
        return {
            "sent": dict(self.sent),
            "dropped": dict(self.dropped),
            "ring_full": self.full,
            "waiting": len(self._kept),
            "drains": self.drains,
        }

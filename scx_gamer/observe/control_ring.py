# SPDX-License-Identifier: GPL-2.0-or-later
"""The only producer of the control ring. Messages are queued, and drained once for each pass of the loop."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

# State messages are kept until they fit into the ring. Others are dropped when it is full: a late input event is
# useless, and the next heartbeat follows.
_KEPT = frozenset({"CLASS_SET", "CLASS_DEL", "FOCUS", "TUNABLE", "GAME_ACTIVE"})
_MAX_KEPT = 32768  # twice SCXG_MAX_CLASSES_TRACKED; more are never needed
_MAX_DRAINS = 8  # drain runs in one flush


class Ring(Protocol):
    """The interface of a user ring buffer."""

    def send(self, data: bytes) -> bool: ...


class MessageAbi(Protocol):
    """The part of Abi in use."""

    constants: dict[str, int]

    def pack(self, name: str, **fields: int) -> bytes: ...


class Sender(Protocol):
    """The part of ControlRing for callers that only send."""

    def send(self, type_name: str, **fields: int) -> bool: ...
    def flush(self) -> None: ...


class ControlRing:
    """The queue of messages to the BPF programs. `generation` is written into each message."""

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
        self.dropped: Counter[str] = Counter()  # by type
        self.full = 0  # messages that found the ring full
        self.drains = 0

    def send(self, type_name: str, **fields: int) -> bool:
        """Queue one message. Return False if it was dropped. Raises KeyError for an unknown type."""
        fields.setdefault("time_ns", self._now_ns())
        data = self._pack(type_name, fields)
        kept = type_name in _KEPT
        # kept messages stay in order: a CLASS_DEL must not overtake its CLASS_SET
        if not (kept and self._kept) and self._push(type_name, data):
            return True
        if kept and len(self._kept) < _MAX_KEPT:
            self._kept.append((type_name, data))
            return True
        self.dropped[type_name] += 1
        return False

    def send_at_once(self, type_name: str, **fields: int) -> None:
        """Send and drain one message that need not be kept, possibly from a signal handler during another send.

        If that send has a reserved record in the ring, this message is read at the next flush.
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
        """Run the drain program if messages were sent, and send kept messages into the freed space."""
        for _ in range(_MAX_DRAINS):
            if not self._dirty:
                return
            seen = self._drain()
            self.drains += 1
            self._dirty = seen >= self._batch  # a full batch: the ring may hold more
            while self._kept and self._push(*self._kept[0]):
                self._kept.popleft()

    @property
    def waiting(self) -> int:
        """Number of kept state messages that are not in the ring yet."""
        return len(self._kept)

    def new_generation(self, generation: int) -> None:
        """Start a generation: drop kept messages of the old one, and write `generation` into the next messages."""
        self.flush()
        for type_name, _data in self._kept:
            self.dropped[type_name] += 1
        self._kept.clear()
        self.generation = generation

    def counters(self) -> dict[str, object]:
        """Return the counters of the status snapshot."""
        return {
            "sent": dict(self.sent),
            "dropped": dict(self.dropped),
            "ring_full": self.full,
            "waiting": len(self._kept),
            "drains": self.drains,
        }

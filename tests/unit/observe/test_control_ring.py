# SPDX-License-Identifier: GPL-2.0-or-later
"""The queue of messages to the BPF programs, on a fake ring."""

from __future__ import annotations

from scx_gamer.observe.control_ring import ControlRing

BATCH = 64  # messages taken by one run of the drain


class Ring:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held: list[bytes] = []
        self.seen: list[bytes] = []
        self.drains = 0

    def send(self, data: bytes) -> bool:
        if len(self.held) >= self.capacity:
            return False
        self.held.append(data)
        return True

    def drain(self) -> int:
        self.drains += 1
        batch, self.held = self.held[:BATCH], self.held[BATCH:]
        self.seen += batch
        return len(batch)


class Abi:
    def __init__(self) -> None:
        names = ("HEARTBEAT", "INPUT", "HELD", "CLASS_SET", "CLASS_DEL", "GAME_ACTIVE")
        self.constants = {f"SCXG_MSG_{name}": i + 1 for i, name in enumerate(names)}
        self.constants["SCXG_ABI_VERSION"] = 1
        self.constants["SCXG_CONTROL_BATCH"] = BATCH

    def pack(self, name: str, **fields: int) -> bytes:
        return f"{fields['type']}:{fields.get('tgid', 0)}:{fields['generation']}".encode()


def feed_on(capacity: int) -> tuple[ControlRing, Ring]:
    ring = Ring(capacity)
    return ControlRing(ring, ring.drain, Abi(), now_ns=lambda: 1), ring


def test_one_drain_for_a_pass_and_none_without_messages() -> None:
    feed, ring = feed_on(100)
    for _ in range(50):
        assert feed.send("INPUT", index=1)
    feed.flush()
    feed.flush()
    assert ring.drains == 1 and len(ring.seen) == 50 and feed.sent["INPUT"] == 50


def test_more_than_one_batch_is_drained_in_one_flush() -> None:
    feed, ring = feed_on(1000)
    for _ in range(3 * BATCH - 1):
        feed.send("INPUT", index=1)
    feed.flush()
    assert len(ring.seen) == 3 * BATCH - 1 and ring.drains == 3


def test_input_is_dropped_and_counted_when_full() -> None:
    feed, ring = feed_on(2)
    assert [feed.send("INPUT", index=1) for _ in range(5)] == [True, True, False, False, False]
    feed.flush()
    assert feed.dropped["INPUT"] == 3 and feed.full == 3 and len(ring.seen) == 2


def test_states_wait_in_order() -> None:
    feed, ring = feed_on(2)
    for tgid in range(1, 5):
        assert feed.send("CLASS_SET", tgid=tgid)
    assert feed.send("CLASS_DEL", tgid=1)
    assert feed.waiting == 3
    feed.flush()
    order = [(4, 1), (4, 2), (4, 3), (4, 4), (5, 1)]
    assert ring.seen == [f"{kind}:{tgid}:0".encode() for kind, tgid in order]
    assert feed.waiting == 0 and not feed.dropped


def test_states_that_wait_are_not_overtaken() -> None:
    feed, ring = feed_on(1)
    feed.send("CLASS_SET", tgid=1)
    feed.send("CLASS_SET", tgid=2)
    ring.drain()  # space again before the next flush
    feed.send("CLASS_DEL", tgid=2)
    feed.flush()
    assert ring.seen[-2:] == [b"4:2:0", b"5:2:0"]


def test_new_generation_is_stamped_and_old_states_do_not_follow() -> None:
    feed, ring = feed_on(1)
    for tgid in range(1, 30):
        feed.send("CLASS_SET", tgid=tgid)
    feed.new_generation(9)
    feed.send("CLASS_SET", tgid=100)
    feed.flush()
    assert ring.seen[-1] == b"4:100:9" and feed.dropped["CLASS_SET"] == 29 - 8 - 1
    assert feed.waiting == 0


def test_at_once_means_sent_and_read() -> None:
    feed, ring = feed_on(1)
    feed.send_at_once("INPUT", index=1, time_ns=5)
    assert len(ring.seen) == 1 and feed.sent["INPUT"] == 1 and feed.drains == 1
    assert feed.send("HEARTBEAT")
    feed.send_at_once("INPUT", index=1, time_ns=5)  # ring full: counted, not kept
    assert feed.dropped["INPUT"] == 1 and feed.waiting == 0


def test_at_once_amid_a_flush_takes_nothing_twice() -> None:
    feed, ring = feed_on(2)
    feed.send("INPUT", index=1)
    feed.send("INPUT", index=1)
    for tgid in (1, 2, 3):  # kept until there is space
        assert feed.send("CLASS_SET", tgid=tgid)
    push = ring.send

    def interrupted(data: bytes) -> bool:
        ring.send = push  # type: ignore[method-assign]
        feed.send_at_once("INPUT", index=1, time_ns=5)
        return push(data)

    ring.send = interrupted  # type: ignore[method-assign]
    feed.flush()
    sent = [int(data.split(b":")[1]) for data in ring.seen if data.startswith(b"4:")]
    assert sent == [1, 2, 3] and feed.waiting == 0

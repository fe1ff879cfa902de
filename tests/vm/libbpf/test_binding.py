# SPDX-License-Identifier: GPL-2.0-or-later
"""The binding on a real kernel: rings, mapped maps, links, and errors with the kernel's own words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scx_gamer.libbpf import Abi, BpfError, Object, RingBuffer, UserRing, kernel

RECORD = "scxg_probe_record"


def test_records_arrive_in_order_and_bounded(probe: Object) -> None:
    abi, seen = Abi(probe.btf), []
    with (
        probe.maps["shared"].mapped(RECORD) as shared,
        RingBuffer(
            probe.maps["out"], lambda data: seen.append(abi.unpack(RECORD, data)["number"])
        ) as ring,
    ):
        emit = probe.programs["emit"].runner()
        shared[0].set("value", 5)
        assert [emit() for _ in range(20)] == [0] * 20
        assert ring.consume(7) == 7 and seen == list(range(1, 8))
        assert ring.consume(100) == 13 and seen == list(range(1, 21))
        assert ring.consume(100) == 0


def test_a_full_event_ring_refuses_and_recovers(probe: Object) -> None:
    count = 0
    with RingBuffer(probe.maps["out"], lambda _data: None) as ring:
        emit = probe.programs["emit"].runner()
        while emit() == 0:
            count += 1
            assert count < 1000
        assert 4096 // 32 < count <= 4096 // 24
        assert ring.consume(1000) == count
        assert emit() == 0 and ring.consume(10) == 1


def test_a_handler_that_raises_loses_its_record_only(
    probe: Object, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[bytes] = []

    def handler(data: bytes) -> None:
        seen.append(data)
        if len(seen) == 1:
            raise ValueError("on purpose")

    with RingBuffer(probe.maps["out"], handler) as ring:
        emit = probe.programs["emit"].runner()
        emit(), emit()
        assert ring.consume(10) == 2 and ring.failures == 1 and len(seen) == 2
    assert "on purpose" in caplog.text


def test_a_full_control_ring_says_so_and_drains(probe: Object) -> None:
    abi = Abi(probe.btf)
    with probe.maps["shared"].mapped(RECORD) as shared, UserRing(probe.maps["in"]) as ring:
        sent = 0
        while ring.send(abi.pack(RECORD, number=sent, value=2)):
            sent += 1
            assert sent < 1000
        assert 4096 // 32 < sent <= 4096 // 24
        probe.programs["drain"].runner()()
        assert shared[2].get("number") == sent and shared[2].get("value") == 2 * sent
        assert ring.send(abi.pack(RECORD, value=1))


def test_one_producer_a_ring(probe: Object) -> None:
    with UserRing(probe.maps["in"]), pytest.raises(BpfError, match="already has a producer"):
        UserRing(probe.maps["in"])
    UserRing(probe.maps["in"]).close()


def test_a_mapped_map_is_the_kernels_own_memory(probe: Object) -> None:
    """Not a copy: what either side writes the other reads, without a call."""
    table = probe.maps["shared"]
    with table.mapped(RECORD) as shared, RingBuffer(probe.maps["out"], lambda _d: None):
        emit = probe.programs["emit"].runner()
        before = shared[0].get("number")
        emit(), emit()
        assert shared[0].get("number") == before + 2
        shared[0].set("number", 40)
        emit()
        assert shared[0].get("number") == 41
        assert table.lookup((0).to_bytes(4, "little")) == (41).to_bytes(8, "little") + bytes(8)


def test_constants_are_written_before_the_load_only(build: Callable[[str], Path]) -> None:
    with Object.open(build("probe")) as obj:
        obj.set_rodata(step=5)
        obj.load()
        with obj.maps["shared"].mapped(RECORD) as shared:
            obj.programs["emit"].runner()()
            assert shared[0].get("number") == 5
        with pytest.raises(BpfError, match="cannot change after the load"):
            obj.set_rodata(step=6)


def test_a_table(probe: Object) -> None:
    table = probe.maps["table"]

    def key(number: int) -> bytes:
        return number.to_bytes(4, "little")

    for number in range(8):
        table.update(key(number), (number * 3).to_bytes(8, "little"))
    assert sorted(table.keys()) == [key(n) for n in range(8)]
    with pytest.raises(BpfError, match="update"):
        table.update(key(9), bytes(8))
    assert table.delete(key(3)) and not table.delete(key(3))
    assert table.lookup(key(3)) is None and table.lookup(key(4)) == (12).to_bytes(8, "little")
    with pytest.raises(BpfError, match="a key has 4 bytes"):
        table.lookup(b"x")


def test_a_link_lives_until_it_is_closed(probe: Object) -> None:
    with probe.maps["shared"].mapped(RECORD) as shared:
        link = probe.programs["count_exec"].attach()
        assert "count_exec" in kernel.names("link").values()
        subprocess.run(["/bin/true"], check=True)
        link.close()
        link.close()
        counted = shared[1].get("number")
        assert counted >= 1
        with pytest.raises(BpfError, match="closed"):
            _ = link.fd
        subprocess.run(["/bin/true"], check=True)
        assert shared[1].get("number") == counted


def test_what_is_closed_says_so(build: Callable[[str], Path]) -> None:
    obj = Object.open(build("probe"))
    obj.load()
    table, program = obj.maps["table"], obj.programs["emit"]
    obj.close()
    obj.close()
    for use in (lambda: table.fd, lambda: program.fd, obj.load, lambda: table.lookup(bytes(4))):
        with pytest.raises(BpfError, match="is closed"):
            use()


def test_the_verifiers_words_come_with_the_refusal(build: Callable[[str], Path]) -> None:
    with Object.open(build("refused")) as obj, pytest.raises(BpfError) as caught:
        obj.load()
    assert "\n" not in str(caught.value) and caught.value.errno == 13
    assert "invalid access to map value" in caught.value.log
    assert "reads_past_the_end" in caught.value.log


def test_a_missing_kfunc_is_named(build: Callable[[str], Path]) -> None:
    with Object.open(build("missing")) as obj, pytest.raises(BpfError) as caught:
        obj.load()
    assert "scx_bpf_there_is_no_such_kfunc" in caught.value.log

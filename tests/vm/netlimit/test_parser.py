# SPDX-License-Identifier: GPL-2.0-or-later
"""Charging of packets that are built by hand and run through the loaded programs."""

from __future__ import annotations

import ctypes as C
import ipaddress
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scx_gamer.libbpf import StructView
from scx_gamer.libbpf._native import TestRunOpts, native
from scx_gamer.netlimit.programs import DOWN, UP, Programs
from scx_gamer.netlimit.registry import COUNTERS, LANES

PASS, DROP, CONGESTED = 1, 0, 2
ETHERNET = bytes(12)
FOUR = (
    "198.51.100.1",
    {"203.0.113.1": False, "192.168.1.2": True, "10.1.2.3": True, "100.64.0.1": True},
)
SIX = ("2001:db8::7", {"2a00:1450::1": False, "fe80::1": True, "fd12::1": True, "ff02::1": True})


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    loaded = Programs()
    try:
        yield loaded
    finally:
        loaded.close()


def packet(source: str, destination: str, size: int = 200) -> bytes:
    """An Ethernet frame, which the kernel takes off again before the program sees it."""
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if a.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 17, 0) + a.packed + b.packed
        kind = 0x0800
    else:
        head = struct.pack("!IHBB", 6 << 28, size - 40, 17, 64) + a.packed + b.packed
        kind = 0x86DD
    return ETHERNET + struct.pack("!H", kind) + head.ljust(size, b"x")


def verdict(programs: Programs, name: str, data: bytes, repeat: int = 1) -> int:
    opts = TestRunOpts(sz=C.sizeof(TestRunOpts), data_size_in=len(data), repeat=repeat)
    buffer = C.create_string_buffer(data, len(data))
    opts.data_in = C.addressof(buffer)
    fd = programs.object.programs[name].fd
    native().check("test run", "bpf_prog_test_run_opts", fd, C.addressof(opts))
    return int(opts.retval)


def slot(programs: Programs, **fields: int) -> StructView:
    """Slot 0, which is what a test run's fresh storage names: with nothing of the test before."""
    view = programs.slot(0)
    for name, value in {"scope": 0, "kind": 0, "serial": 0, **fields}.items():
        view.set(name, value)
    for lane in LANES.values():
        view.set(f"lane[{lane}].free_ns", 0)
        for name in COUNTERS:
            view.set(f"lane[{lane}].{name}", 0)
    return view


def rates(view: StructView, rate: int) -> None:
    for lane in LANES.values():
        view.set(f"lane[{lane}].rate", rate)


@pytest.mark.parametrize("scope", ["internet", "all"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_truth_table_of_addresses_and_directions(programs: Programs, way: str, scope: str) -> None:
    name = UP if way == "up" else DOWN
    for mine, others in (FOUR, SIX):
        for other, is_local in others.items():
            view = slot(programs, scope=int(scope == "all"))
            rates(view, 10**6)
            data = packet(mine, other) if way == "up" else packet(other, mine)
            assert verdict(programs, name, data) == PASS
            lane = f"lane[{LANES[way]}]"
            exempt = is_local and scope == "internet"
            seen = (view.get(f"{lane}.packets"), view.get(f"{lane}.exempt_bytes"))
            assert seen == ((0, 200) if exempt else (1, 0)), (other, way, scope)
            # the near end's address says nothing: swapped, the same packet is judged by the other one
            swapped = packet(other, mine) if way == "up" else packet(mine, other)
            assert verdict(programs, name, swapped) == PASS
            assert view.get(f"{lane}.packets") == (1 if exempt else 2)
            silent = f"lane[{LANES['down' if way == 'up' else 'up']}].packets"
            assert view.get(silent) == 0


@pytest.mark.parametrize(("name", "way", "dropped"), [(UP, "up", CONGESTED), (DOWN, "down", DROP)])
def test_beyond_the_burst_is_dropped_as_the_direction_wants(
    programs: Programs, name: str, way: str, dropped: int
) -> None:
    view = slot(programs, scope=0)
    rates(view, 16_000)
    data = packet("203.0.113.1", "203.0.113.2", 1500)  # 94 ms each, 750 ms of burst
    assert verdict(programs, name, data) == PASS
    assert verdict(programs, name, data, repeat=999) == dropped
    lane = f"lane[{LANES[way]}]"
    passed, lost = (view.get(f"{lane}.{what}") for what in ("packets", "dropped_packets"))
    assert passed + lost == 1000 and 9 <= passed < 500
    assert view.get(f"{lane}.bytes") == 1500 * passed
    assert view.get(f"{lane}.dropped_bytes") == 1500 * lost


def test_no_rate_limits_nothing_and_counts_nothing(programs: Programs) -> None:
    view = slot(programs, scope=1)
    rates(view, 0)
    assert verdict(programs, UP, packet("203.0.113.1", "203.0.113.2"), repeat=100) == PASS
    assert view.get("lane[0].packets") == 0


def test_a_task_limit_leaves_untagged_sockets_alone(programs: Programs) -> None:
    view = slot(programs, scope=1, kind=1, serial=5)
    rates(view, 16_000)
    for name in (UP, DOWN):
        assert verdict(programs, name, packet("203.0.113.1", "203.0.113.2"), repeat=50) == PASS
    assert view.get("lane[0].packets") == view.get("lane[1].packets") == 0


@pytest.mark.parametrize("junk", [b"\x45", b"\x60" + bytes(20), b"\x10" + bytes(60), bytes(40)])
def test_what_is_no_packet_of_ours_passes(programs: Programs, junk: bytes) -> None:
    view = slot(programs, scope=0)
    rates(view, 16_000)
    data = ETHERNET + b"\x88\xb5" + junk.ljust(20, b"\0")
    for name in (UP, DOWN):
        assert verdict(programs, name, data, repeat=20) == PASS
    assert view.get("lane[0].packets") == view.get("lane[1].packets") == 0
    assert view.get("lane[0].exempt_bytes") == 20 * len(data[14:])


GLOBAL = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
PACKETS = st.tuples(
    st.one_of(
        st.binary(min_size=20, max_size=200),
        # the beginning of a header, then anything
        st.tuples(
            st.sampled_from(b"\x45\x4f\x46\x60\x6f\x00\xf5"), st.binary(min_size=19, max_size=120)
        ).map(lambda parts: bytes([parts[0]]) + parts[1]),
        st.tuples(GLOBAL, GLOBAL)
        .filter(lambda pair: (":" in pair[0]) == (":" in pair[1]))
        .map(lambda pair: packet(*pair)[14:]),
    ),
    st.sampled_from((0x0800, 0x86DD, 0x88B5)),
)


HEADERS = {0x0800: 20, 0x86DD: 40}


def is_exempt(data: bytes, way: str) -> bool:
    """The same judgement, made by the standard library's tables of addresses."""
    version = data[0] >> 4
    if version not in (4, 6):
        return True
    size = 4 if version == 4 else 16
    at = (12 if version == 4 else 8) + (size if way == "up" else 0)
    if len(data) < at + size:
        return True
    address = ipaddress.ip_address(data[at : at + size])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ipaddress.ip_network(net) for net in NETS)


NETS = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)  # fmt: skip


def test_any_bytes_are_judged_and_counted_once(programs: Programs) -> None:
    """Each packet is passed, and charged or exempt by the other end's address; the verifier keeps it in bounds."""
    verdicts = {True: 0, False: 0}

    @settings(
        max_examples=200, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(PACKETS, st.sampled_from(("up", "down")))
    def check(made: tuple[bytes, int], way: str) -> None:
        data, kind = made
        data = data.ljust(HEADERS.get(kind, 0), b"\0")  # the kernel runs nothing on less
        view = slot(programs, scope=0, kind=0)
        rates(view, 1_250_000_000)
        frame = ETHERNET + struct.pack("!H", kind) + data
        assert verdict(programs, UP if way == "up" else DOWN, frame) == PASS
        exempt = is_exempt(data, way)
        lane = f"lane[{LANES[way]}]"
        seen = tuple(view.get(f"{lane}.{name}") for name in ("bytes", "exempt_bytes"))
        assert seen == ((0, len(data)) if exempt else (len(data), 0))
        verdicts[exempt] += 1

    check()
    assert min(verdicts.values()) > 20, verdicts


def test_names_of_the_abi() -> None:
    loaded = Programs()
    try:
        assert {"up": loaded.abi["NET_UP"], "down": loaded.abi["NET_DOWN"]} == LANES
        assert (loaded.abi["NET_INTERNET"], loaded.abi["NET_ALL"]) == (0, 1)
        assert (loaded.abi["NET_CGROUP"], loaded.abi["NET_TASK"]) == (0, 1)
        lane = loaded.object.btf.struct("scxg_net_lane").fields
        assert list(lane) == ["rate", "free_ns", *COUNTERS]
    finally:
        loaded.close()

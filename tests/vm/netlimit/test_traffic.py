# SPDX-License-Identifier: GPL-2.0-only
"""Real TCP and UDP through an emulated 20/10 Mbit/s link with 200 ms buffers, 24 ms away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.vm.harness import Supervised
from tests.vm.netlimit.world import (
    INET6,
    PRIVATE,
    PSCHED,
    PUBLIC,
    PUBLIC6,
    TRAFFIC,
    Cgroup,
    echoes,
    ended,
    gaps,
    limits,
    quantile,
    rate,
    run,
    samples,
)

Make = Callable[[str], Cgroup]
pytestmark = pytest.mark.usefixtures("internet")
MB = 1_000_000
DOWN, UP = "8 Mbit/s", "4 Mbit/s"


def anchor(sup: Supervised, group: Cgroup, down: str = DOWN, up: str = UP, **more: str) -> None:
    """Limit a cgroup by a process that lives in it as long as the test does."""
    sup.ask("net_limit", target=str(group.sleeper().pid), down=down, up=up, **more)


@pytest.mark.parametrize("way", ["down", "up"])
@pytest.mark.needs(PSCHED)
def test_the_game_keeps_its_round_trip(sup: Supervised, cgroup: Make, way: str) -> None:
    """From the first second of the bulk on; without the limit the same link is useless."""
    game, bulk = cgroup("scxg-game"), cgroup("scxg-bulk")
    idle = quantile(echoes(game.traffic("echo", PUBLIC, 4)), 0.95, 0, 4)

    def loaded(seconds: float) -> tuple[float, float, float]:
        flows = bulk.traffic(way, PUBLIC, 2, seconds)
        found = echoes(game.traffic("echo", PUBLIC, seconds - 2))
        got = samples(flows)
        return quantile(found, 0.95, 0, 2), quantile(found, 0.95, 2, 99), rate(got, 3, seconds)

    anchor(sup, bulk)
    before, steady, got = loaded(9)
    sup.ask("net_release")
    free = loaded(6)[1]
    wanted = MB if way == "down" else MB // 2
    print(
        f"{way}: RTT p95 idle {idle:.1f}, first 2 s {before:.1f}, steady {steady:.1f}, unlimited {free:.1f} ms;"
        f" bulk {got / 1000:.0f} of {wanted / 1000:.0f} kB/s"
    )
    assert free > idle + 60, "the link is no bottleneck: this test shows nothing"
    assert before < idle + 15
    assert steady < idle + 15
    assert 0.85 * wanted < got < 1.15 * wanted


def test_two_cgroups_with_different_limits(sup: Supervised, cgroup: Make) -> None:
    """Each within 15 %; one released runs free, and the other keeps its own."""
    one, other = cgroup("scxg-a"), cgroup("scxg-b")
    first = one.sleeper()
    sup.ask("net_limit", target=str(first.pid), down="4 Mbit/s")
    anchor(sup, other, down="2.4 Mbit/s", up="unlimited")
    flows = [group.traffic("down", PUBLIC, 1, 12) for group in (one, other)]
    time.sleep(7)
    sup.ask("net_release", target=str(first.pid))
    a, b = (samples(flow) for flow in flows)
    print(f"{rate(a, 2, 6.5) / 1000:.0f} of 500, {rate(b, 2, 6.5) / 1000:.0f} of 300 kB/s")
    assert 425_000 < rate(a, 2, 6.5) < 575_000
    assert 255_000 < rate(b, 2, 6.5) < 345_000
    assert rate(a, 9, 12) > 800_000, "released, it takes what the link has"
    assert 255_000 < rate(b, 8, 12) < 345_000


def test_a_change_under_traffic_leaves_no_gap(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    pid = str(group.sleeper().pid)
    sup.ask("net_limit", target=pid, down="4 Mbit/s")
    flow = group.traffic("down", PUBLIC, 2, 13)
    for seconds, new in ((4, "12 Mbit/s"), (4, "2.4 Mbit/s")):
        time.sleep(seconds)
        sup.ask("net_limit", target=pid, down=new)
    found = samples(flow)
    print(f"longest time without a byte {1000 * gaps(found, 1):.0f} ms")
    assert gaps(found, 1) < 1.0
    assert 0.7 * 1.5 * MB < rate(found, 5.5, 7.5) < 1.15 * 1.5 * MB
    assert 255_000 < rate(found, 10, 13) < 375_000


def test_no_udp_sender_sees_an_error(sup: Supervised, cgroup: Make) -> None:
    """Far above its rate: datagrams are dropped in silence, as on any link."""
    group = cgroup("scxg-a")
    anchor(sup, group, up="1 Mbit/s")
    said = json.loads(ended(group.traffic("flood", PUBLIC, 1_000_000, 3)))
    assert said["errors"] == []
    row = limits(sup)[group.path]
    assert row["up_dropped_packets"] > 500
    assert 0.85 * 125_000 * 3 < row["up_bytes"] < 1.25 * 125_000 * 3


def test_the_lowest_rate_still_moves(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    anchor(sup, group, down="16 kB/s", up="unlimited")
    got = rate(samples(group.traffic("down", PUBLIC, 1, 14)), 4, 14)
    print(f"{got / 1000:.1f} kB/s of 16")
    assert 12_000 < got < 18_400


@pytest.mark.parametrize("scope", ["internet", "all"])
def test_private_addresses_are_left_alone_unless_told(
    sup: Supervised, cgroup: Make, scope: str
) -> None:
    group = cgroup("scxg-a")
    anchor(sup, group, down="1 Mbit/s", scope=scope)
    got = rate(samples(group.traffic("down", PRIVATE, 1, 5)), 2, 5)
    row = limits(sup)[group.path]
    if scope == "internet":
        assert got > 800_000 and row["down_exempt_bytes"] > MB
    else:
        assert got < 150_000 and row["down_exempt_bytes"] == 0


@pytest.mark.needs(INET6)
@pytest.mark.parametrize("way", ["down", "up"])
def test_six_is_limited_too(sup: Supervised, cgroup: Make, way: str) -> None:
    group = cgroup("scxg-a")
    anchor(sup, group, down="4 Mbit/s", up="4 Mbit/s")
    got = rate(samples(group.traffic(way, PUBLIC6, 2, 7)), 2, 7)
    assert 425_000 < got < 575_000


@pytest.mark.needs(PSCHED)
@pytest.mark.parametrize("qdisc", ["pfifo", "fq"])
def test_the_users_qdisc_is_untouched(sup: Supervised, cgroup: Make, qdisc: str) -> None:
    """And with fq, which waits for a packet's departure, next to nothing has to be dropped."""
    run("tc", "qdisc", "replace", "dev", "h0", "root", qdisc)
    try:
        before = run("tc", "qdisc", "show")
        group = cgroup("scxg-a")
        anchor(sup, group)
        got = rate(samples(group.traffic("up", PUBLIC, 2, 7)), 2, 7)
        row = limits(sup)[group.path]
        share = row["up_dropped_packets"] / (row["up_packets"] + row["up_dropped_packets"])
        print(f"{qdisc}: {got / 1000:.0f} kB/s, {100 * share:.1f} % dropped")
        assert run("tc", "qdisc", "show") == before
        assert 425_000 < got < 575_000
        assert share < (0.02 if qdisc == "fq" else 0.5)
    finally:
        run("tc", "qdisc", "del", "dev", "h0", "root")


@pytest.mark.parametrize("opened", ["after", "before"])
def test_a_task_is_charged_and_its_neighbour_is_not(
    sup: Supervised, cgroup: Make, opened: str
) -> None:
    """In one cgroup; sockets that were open before the limit count too."""
    group = cgroup("scxg-a")
    if opened == "after":
        waiting = ["/bin/sh", "-c", 'read line; exec "$@"', "sh"]  # for the limit to be there
        loader = group.start(
            *waiting, sys.executable, "-I", TRAFFIC, "down", PUBLIC, "1", "8", stdin=subprocess.PIPE
        )
        sup.ask("net_limit", target=str(loader.pid), down="2 Mbit/s", kind="task")
        assert loader.stdin is not None
        loader.stdin.write("go\n")
        loader.stdin.close()
        loader.stdin = None
    else:
        loader = group.traffic("down", PUBLIC, 1, 8)
        time.sleep(2)
        sup.ask("net_limit", target=str(loader.pid), down="2 Mbit/s", kind="task")
    neighbour = group.traffic("down", PUBLIC, 1, 6)
    charged, free = rate(samples(loader), 4, 8), rate(samples(neighbour), 2, 6)
    print(f"loader {charged / 1000:.0f} of 250 kB/s, neighbour {free / 1000:.0f} kB/s")
    assert 212_000 < charged < 288_000
    assert free > 800_000

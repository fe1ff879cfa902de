# SPDX-License-Identifier: GPL-2.0-or-later
"""Real TCP and UDP through an emulated 20/10 Mbit/s link with 200 ms buffers, 24 ms away.

The small kernel has no part that a line could be emulated with (packet scheduler, tun, packet sockets): there the
line delays nothing and queues nothing, so that what is said of round trips and queues is shown on the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scx_gamer.metrics.samples import samples, shipped_names
from tests.vm.harness import Supervised, wait_until
from tests.vm.netlimit.world import (
    INET6,
    PRIVATE,
    PSCHED,
    PUBLIC,
    PUBLIC6,
    SERVER,
    TRAFFIC,
    Cgroup,
    Flow,
    limits,
    run,
)

Make = Callable[[str], Cgroup]
pytestmark = pytest.mark.usefixtures("internet")
MB = 1_000_000
DOWN, UP = "8 Mbit/s", "4 Mbit/s"


def anchor(sup: Supervised, group: Cgroup, down: str = DOWN, up: str = UP, **more: str) -> str:
    """Limit a cgroup by a process that lives in it as long as the test does; its number."""
    pid = str(group.sleeper().pid)
    sup.ask("net_limit", target=pid, down=down, up=up, **more)
    return pid


@pytest.mark.parametrize("way", ["down", "up"])
@pytest.mark.needs(PSCHED)
def test_the_game_keeps_its_round_trip(sup: Supervised, cgroup: Make, way: str) -> None:
    """From the first second of the bulk on; without the limit the same link is useless."""
    group = cgroup("scxg-bulk")
    game = cgroup("scxg-game").traffic("echo", PUBLIC)
    game.lasts(1)
    idle = game.quantile(0.95, *game.lasts(4))
    anchor(sup, group)
    wanted = MB if way == "down" else MB // 2
    for _ in range(3):  # what else the machine does adds to a round trip, and never takes from it
        bulk = group.traffic(way, PUBLIC, 2)
        began = bulk.rows()[0][0]
        bulk.lasts(7.2)
        first, steady = (game.quantile(0.95, began + a, began + b) for a, b in ((0, 2), (2, 7)))
        got = bulk.rate(began + 2, began + 7)
        print(
            f"{way}: RTT p95 idle {idle:.1f}, first 2 s {first:.1f}, steady {steady:.1f} ms;"
            f" bulk {got / 1000:.0f} of {wanted / 1000:.0f} kB/s"
        )
        if max(first, steady) < idle + 15:
            break
        bulk.process.kill()
        bulk.process.wait(20)
        game.lasts(1)
    assert max(first, steady) < idle + 15
    assert 0.85 * wanted < got < 1.15 * wanted
    sup.ask("net_release")
    what = (
        "the queue that the limit kept empty: else the link is no bottleneck, and nothing was shown"
    )
    wait_until(
        what,
        lambda: game.quantile(0.95, time.monotonic() - 3, time.monotonic() - 1) > idle + 60,
        60,
    )


def test_two_cgroups_with_different_limits(sup: Supervised, cgroup: Make) -> None:
    """Each within 15 %; one released runs free, and the other keeps its own."""
    one, other = cgroup("scxg-a"), cgroup("scxg-b")
    first = anchor(sup, one, down="4 Mbit/s", up="unlimited")
    anchor(sup, other, down="2.4 Mbit/s", up="unlimited")
    a, b = (group.traffic("down", PUBLIC, 1) for group in (one, other))
    b.lasts(1.5)
    both = b.lasts(4)
    sup.ask("net_release", target=first)
    b.lasts(1.5)
    after = b.lasts(2)
    print(f"{a.rate(*both) / 1000:.0f} of 500, {b.rate(*both) / 1000:.0f} of 300 kB/s")
    assert 425_000 < a.rate(*both) < 575_000
    assert 255_000 < b.rate(*both) < 345_000
    assert a.rate(*after) > 800_000, "released, it takes what the link has"
    assert 255_000 < b.rate(*after) < 345_000


def test_a_change_under_traffic_leaves_no_gap(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    pid = anchor(sup, group, down="4 Mbit/s", up="unlimited")
    flow = group.traffic("down", PUBLIC, 2)
    began = time.monotonic()
    for new, rate in (("4 Mbit/s", 500_000), ("8 Mbit/s", MB), ("2.4 Mbit/s", 300_000)):
        sup.ask("net_limit", target=pid, down=new)
        got = flow.measured(1.5, 2.5)
        print(f"{new}: {got / 1000:.0f} kB/s")
        assert 0.85 * rate < got < 1.15 * rate
    gap = flow.longest_gap(began + 1)
    print(f"longest time without a byte {1000 * gap:.0f} ms")
    assert gap < 1.0


def test_no_udp_sender_sees_an_error(sup: Supervised, cgroup: Make) -> None:
    """Far above its rate: datagrams are dropped in silence, as on any link."""
    group = cgroup("scxg-a")
    anchor(sup, group, up="1 Mbit/s")
    flow = group.traffic("flood", PUBLIC, MB)
    before = limits(sup)[group.path]
    began, ended = flow.lasts(3)
    after = limits(sup)[group.path]
    sent, errors = flow.rows()[-1]
    assert (sent > 2 * 125_000, errors) == (True, 0)
    assert after["up_dropped_packets"] - before["up_dropped_packets"] > 100
    got = (after["up_bytes"] - before["up_bytes"]) / (ended - began)
    assert 0.85 * 125_000 < got < 1.15 * 125_000
    found = samples(sup.ask("snapshot"), shipped_names())
    told = {(name, labels): value for name, labels, value in found}
    assert told["network_limits", ()] == 1
    assert told["network_packets", ("up", "dropped")] >= after["up_dropped_packets"]


def both_ways(cgroup: Make, sup: Supervised, rate: str, host: str, count: int) -> list[Flow]:
    """A download and an upload at once, each in a limited cgroup of its own."""
    flows = []
    for way in ("down", "up"):
        group = cgroup(f"scxg-{way}")
        anchor(sup, group, down=rate, up=rate)
        flows.append(group.traffic(way, host, count))
    return flows


def test_the_lowest_rate_still_moves(sup: Supervised, cgroup: Make) -> None:
    flows = both_ways(cgroup, sup, "16 kB/s", PUBLIC, 1)
    flows[0].lasts(3)
    span = flows[0].lasts(8)
    down, up = (flow.rate(*span) for flow in flows)
    print(f"{down / 1000:.1f} down, {up / 1000:.1f} up of 16 kB/s")
    assert 12_000 < down < 18_400 and 12_000 < up < 18_400


def test_private_addresses_are_left_alone_unless_told(sup: Supervised, cgroup: Make) -> None:
    one, other = cgroup("scxg-internet"), cgroup("scxg-all")
    anchor(sup, one, down="1 Mbit/s", scope="internet")
    anchor(sup, other, down="1 Mbit/s", scope="all")
    free, held = (group.traffic("down", PRIVATE, 1) for group in (one, other))
    free.lasts(2)
    span = free.lasts(3)
    rows = limits(sup)
    assert free.rate(*span) > 800_000 and rows[one.path]["down_exempt_bytes"] > MB
    assert held.rate(*span) < 150_000 and rows[other.path]["down_exempt_bytes"] == 0


@pytest.mark.needs(INET6)
def test_six_is_limited_too(sup: Supervised, cgroup: Make) -> None:
    """An upload over a line without delay waits more than it sends (see iperf3 below): there it only stays below."""
    flows = both_ways(cgroup, sup, "4 Mbit/s", PUBLIC6, 2)
    flows[0].lasts(2)
    span = flows[0].lasts(3)
    down, up = (flow.rate(*span) for flow in flows)
    print(f"{down / 1000:.0f} down, {up / 1000:.0f} up of 500 kB/s")
    assert 425_000 < down < 575_000
    assert (425_000 if Path(PSCHED).exists() else 0) < up < 575_000


@pytest.mark.needs(PSCHED)
@pytest.mark.parametrize("qdisc", ["pfifo", "fq"])
def test_the_users_qdisc_is_untouched(sup: Supervised, cgroup: Make, qdisc: str) -> None:
    """And with fq, which waits for a packet's departure, next to nothing has to be dropped."""
    run("tc", "qdisc", "replace", "dev", "h0", "root", qdisc)
    try:
        before = run("tc", "qdisc", "show")
        group = cgroup("scxg-a")
        anchor(sup, group)
        got = group.traffic("up", PUBLIC, 2).measured(2, 5)
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
    sup: Supervised, cgroup: Make, tmp_path: Path, opened: str
) -> None:
    """In one cgroup; sockets that were open before the limit count too."""
    group = cgroup("scxg-a")
    asked = {"down": "2 Mbit/s", "kind": "task"}
    if opened == "after":
        # it waits for the limit to be there
        ready = tmp_path / "ready"
        waits = 'until [ -e "$0" ]; do sleep 0.1; done; exec "$@"'
        command = ("/bin/sh", "-c", waits, ready, sys.executable, "-I", TRAFFIC)
        process, said = group.started(*command, "down", PUBLIC, "1")
        wait_until("in its cgroup", lambda: str(process.pid) in group.procs())
        sup.ask("net_limit", target=str(process.pid), **asked)
        ready.touch()
        loader = Flow(process, said)
    else:
        loader = group.traffic("down", PUBLIC, 1)
        sup.ask("net_limit", target=str(loader.process.pid), **asked)
    charged = loader.measured(2, 3)
    neighbour = group.traffic("down", PUBLIC, 1)
    neighbour.lasts(1.5)
    span = neighbour.lasts(2)
    free, still = neighbour.rate(*span), loader.rate(*span)
    print(
        f"loader {charged / 1000:.0f} of 250 kB/s alone, {still / 1000:.0f} beside {free / 1000:.0f} kB/s"
    )
    assert 212_000 < charged < 288_000
    assert free > 800_000 and still < 288_000


@pytest.mark.needs(PSCHED)
def test_a_tool_of_others_measures_the_same(sup: Supervised, cgroup: Make) -> None:
    """iperf3 in both directions, and its own count of what arrived.

    A segment that its own host drops is sent again at the next acknowledgement. Over a line without delay none is under
    way then, and TCP waits 200 ms: of 250 kB/s up, 70 are left.
    """
    group = cgroup("scxg-a")
    anchor(sup, group, down="4 Mbit/s", up="2 Mbit/s")
    server = cgroup("scxg-iperf").start(
        "ip", "netns", "exec", SERVER, "iperf3", "-s", "-p", "5201", stdout=subprocess.DEVNULL
    )
    wait_until(
        "iperf3 listens", lambda: ":5201" in run("ip", "netns", "exec", SERVER, "ss", "-tln")
    )
    for way, wanted in (("-R", 500_000), ("", 250_000)):
        process, said = group.started(
            *f"iperf3 -J -O 1 -t 4 -l 16K -c {PUBLIC} -p 5201 {way}".split()
        )
        assert process.wait(60) == 0, said.read_text()
        got = json.loads(said.read_text())["end"]["sum_received"]["bits_per_second"] / 8
        print(f"iperf3 {way}: {got / 1000:.0f} of {wanted / 1000:.0f} kB/s")
        assert 0.85 * wanted < got < 1.15 * wanted
    assert server.poll() is None

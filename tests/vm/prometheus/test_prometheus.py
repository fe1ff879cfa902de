# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Prometheus scrapes a real supervisor; every query of the dashboard and every alert is asked for."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.games.rules import RANKS
from scx_gamer.metrics import PREFIX, SPECS
from scx_gamer.scheduler.exits import KIND_NAMES
from scx_gamer.service.session_hints import RESULTS
from tests.vm.frames.programs import GPU, OVERLAID
from tests.vm.harness import Supervised, directories, start_supervisor, wait_until

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
RULES = PACKAGING / "prometheus/scx-gamer.rules.yml"
DASHBOARD = PACKAGING / "grafana/scx-gamer.json"
pytestmark = pytest.mark.timeout(600)
TARGET, SERVER = "127.0.0.1:9714", "127.0.0.1:9795"
# Logs a frame each 20 ms, and has jobs of a GPU that take 5 ms.
GAME = '"$1" -S -c "$2" "$3" 1 5 14 & "$1" -S -c "$4" "$5" 20 & wait'

FROM_THE_START = (
    ("detections", "rule", RANKS),
    ("hints", "kind", ("focus", "game", "game-gone")),
    ("session_hints", "result", RESULTS),
    ("exits", "kind", KIND_NAMES),
    ("attaches", "result", ("busy", "failed", "unsupported")),
    ("events", "type", ("preempt_storm", "sched_exit")),
    ("input_work", "kind", ("resyncs", "floods", "errors", "missed")),
    ("profile_reloads", "result", ("failed",)),
    ("bus_calls", "result", ("answered", "refused", "malformed")),
)


def get(url: str, timeout_s: float = 60) -> bytes:
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        return bytes(answer.read())


def expressions() -> list[tuple[str, str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(p["title"], t["expr"]) for p in panels for t in p.get("targets", ())]


class Prometheus:
    """The distribution's server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        config = (PACKAGING / "prometheus/scrape.yml").read_text()
        settings = (
            f"global: {{scrape_interval: 5s, evaluation_interval: 5s}}\nrule_files: [{RULES}]\n"
        )
        (folder / "prometheus.yml").write_text(settings + config)
        self.log = folder / "prometheus.log"
        self._out = self.log.open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={SERVER}",
            ],
            stdout=self._out, stderr=self._out, stdin=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip

    def ask(self, path: str, **query: str) -> Any:
        text = f"?{urllib.parse.urlencode(query)}" if query else ""
        answer = json.loads(get(f"http://{SERVER}/api/v1/{path}{text}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        return list(self.ask("query", query=expr)["result"])

    def scrapes(self) -> int:
        """Those that were answered; while the server itself starts, one may take too long here."""
        try:
            found = self.query('sum_over_time(up{job="scx-gamer"}[5m])')
        except OSError:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            return 0
        return int(found[0]["value"][1]) if found else 0

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)
        self._out.close()


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervised]:
    with start_supervisor(SupervisorOptions(mode="always", metrics_address=TARGET)) as sup:
        yield sup


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """One supervisor lives through all tests here; its end is looked at by the harness."""


def test_rules_and_metrics_are_clean(supervisor: Supervised) -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, timeout=120
    )
    assert (
        done.returncode == 0 and f"{RULES.read_text().count('alert:')} rules found" in done.stdout
    ), done
    scraped = get(f"http://{TARGET}/metrics")
    # An alert on the first one needs a sample before it: 0, unless this guest stood still, as a resync tells.
    samples = set(re.findall(rf"^{PREFIX}(\w+){{(\S+)}} \S+$", scraped.decode(), re.MULTILINE))
    for metric, label, values in FROM_THE_START:
        wanted = {(f"{metric}_total", f'{label}="{value}"') for value in values}
        assert wanted <= samples, wanted - samples
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped, capture_output=True, timeout=120
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b""), lint


def test_every_query_has_an_answer(
    supervisor: Supervised, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    python = os.path.realpath(sys.executable)
    with ExitStack() as stack:
        folder = stack.enter_context(directories())
        began = time.monotonic()
        server = Prometheus(folder)
        stack.callback(server.close)
        game = subprocess.Popen(
            ["sh", "-c", GAME, "sh", python, GPU, node, OVERLAID, str(folder / "frames.csv")],
            start_new_session=True,
        )  # fmt: skip
        stack.callback(game.wait, 10)
        stack.callback(os.killpg, game.pid, 9)
        supervisor.ask("game_add", pid=game.pid)

        def is_known() -> bool:
            told = supervisor.status().get("frames") or {"count": 0}
            return bool(told["count"] and told["gpu"]["jobs"])

        wait_until("frames, and the GPU's work for them", is_known, 90, 1)
        wait_until("four scrapes", lambda: server.scrapes() >= 4, 240, 1)
        with capsys.disabled():
            print(f"\nfour scrapes after {time.monotonic() - began:.0f} s")
        empty = []
        for title, expr in expressions():
            if not server.query(expr.replace("$__rate_interval", "2m").replace("$instance", ".*")):
                empty.append(f"{title}: {expr}")
        assert not empty, empty
        waits = server.query(f"sum(rate({PREFIX}wait_seconds_count[2m]))")
        assert float(waits[0]["value"][1]) > 0
        groups = server.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == RULES.read_text().count("alert:")
        bad = [rule["name"] for rule in rules if rule["health"] == "err"]
        firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
        assert not bad and not firing, (bad, firing)
        stored = {name.removeprefix(PREFIX) for name in server.ask("label/__name__/values")}
        wanted = {
            name + {"counter": "_total", "histogram": "_bucket"}.get(spec.kind, "")
            for name, spec in SPECS.items()
        }
        assert wanted <= stored, wanted - stored


def test_stuck_scrapers_delay_nobody(
    supervisor: Supervised, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        for number in range(12):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", 9714), 10))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            if number % 2:
                one.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")  # and never read
            else:
                one.sendall(b"GET /met")  # and never finish
        began = time.monotonic()
        assert PREFIX.encode() in get(f"http://{TARGET}/metrics")
        scrape = time.monotonic() - began
        began = time.monotonic()
        state = supervisor.status()
        asked = time.monotonic() - began
        with capsys.disabled():
            print(f"\nbeside 12 stuck scrapers: a scrape {scrape:.2f} s, a question {asked:.2f} s")
        assert scrape < 15 and asked < 5 and state["state"] == "attached"
        assert state["scheduler"]["effects"] == 1


def test_cost_of_a_scrape(supervisor: Supervised, capsys: pytest.CaptureFixture[str]) -> None:
    scrapes = 20
    before = supervisor.cpu_s()
    size = 0
    for _ in range(scrapes):
        time.sleep(1.1)  # longer than an answer is kept
        size = len(get(f"http://{TARGET}/metrics"))
    cost_ms = 1000 * (supervisor.cpu_s() - before) / scrapes
    text = get(f"http://{TARGET}/metrics").decode()
    found = re.search(rf"^{PREFIX}scrape_seconds (\S+)$", text, re.MULTILINE)
    assert found
    with capsys.disabled():
        print(
            f"\nMEASURED a scrape costs {cost_ms:.0f} ms of this emulated CPU, {size} bytes; gathered in {found[1]} s"
        )
    assert cost_ms < 1500 and size < 200_000

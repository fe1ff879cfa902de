# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package as a user has it: what they do from the installation to the purge, on a real kernel."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import running
from tests.screen import on_screen
from tests.vm.harness import kernel_state, wait_until
from tests.vm.package.conftest import (
    UNIT,
    USER,
    Steps,
    files,
    game,
    install_and_enable,
    published,
    purge,
    run,
    wait_state,
)

BUS = "io.github.scx_gamer.Supervisor1"
PROMETHEUS = "127.0.0.1:9795"


def property_of_the_bus(name: str) -> str:
    return run(
        "busctl", "get-property", BUS, "/io/github/scx_gamer/Supervisor1", BUS, name, user=USER
    )


@contextmanager
def prometheus() -> Iterator[None]:
    """Debian's server with the part of its configuration that the package brings."""
    config = Path("/usr/share/scx-gamer/prometheus/scrape.yml").read_text()
    rules = "/usr/share/scx-gamer/prometheus/scx-gamer.rules.yml"
    folder = Path("/tmp/prometheus")
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 3s}}\nrule_files: [{rules}]\n{config}"
    )
    with running(
        [
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={PROMETHEUS}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=folder,
    ):  # fmt: skip
        yield


def stored(expr: str) -> list[Any]:
    """Return the answer of Prometheus; nothing until it is up."""
    url = f"http://{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return list(json.loads(answer.read())["data"]["result"])
    except OSError:
        return []


@pytest.mark.timeout(700)  # less than the guest has, so that it can say where it stood
def test_from_installation_to_purge(deb: Path) -> None:
    """One story, in order, as a user lives it."""
    steps, before = Steps("package"), files()
    install_and_enable(deb)
    steps.done("installed and idle")
    report = json.loads(run("scx-gamer", "doctor", "--json"))
    assert report["exit"] == 0, [f for f in report["findings"] if f["level"] == "fail"]
    steps.done("doctor")

    with prometheus(), game() as played:
        wait_state("attached")
        (row,) = json.loads(run("scx-gamer", "status", "--json", user=USER))["games"]
        found = (row["pid"], row["rule"], row["name"])
        assert found == (played.pid, "desktop-entry", "Blob Frenzy")
        assert property_of_the_bus("State").strip() == 's "attached"'
        assert property_of_the_bus("ActiveGame").split() == ["u", str(row["pid"])]
        assert "attached" in Path("/run/scx-gamer/hud").read_text()
        steps.done("attached; status and bus")
        command = ["/usr/sbin/runuser", "-u", USER, "--", "scx-gamer", "top"]
        with on_screen(command, {**os.environ, "PATH": "/usr/bin:/bin"}) as screen:
            screen.wait(lambda text: "attached" in text and str(row["pid"]) in text, 120)
            screen.press("q")
            assert screen.end(60) == 0
        steps.done("top")
        wait_until(
            "Prometheus has it", lambda: stored('scx_gamer_state{state="attached"} == 1'), 180, 0.5
        )
        steps.done("Prometheus")
        for verb in (("stop",), ("profiles", "set", "server")):
            done = run("scx-gamer", *verb, user=USER, check=False)
            assert "Traceback" not in done and len(done.splitlines()) == 1, done
            assert published()["state"] == "attached"
        steps.done("an ordinary user was refused")
        run("scx-gamer", "stop")
        assert kernel_state() == "disabled" and played.poll() is None
        wait_state("off")
    run("systemctl", "disable", "--now", UNIT)
    assert not Path("/run/scx-gamer").exists()
    purge(before)
    steps.done("stopped and purged")

# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of docs/ as a reader types them, in the order of each page, beside the installed unit."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from tests.pages import PAGES, TOP, commands_of
from tests.processes import running
from tests.screen import on_screen
from tests.vm.harness import wait_until
from tests.vm.systemd.conftest import DROP_IN, run, show, start, status

# What the placeholders of the pages stand for.
GAME = "sleep 3"
DOWNLOAD = "systemd-journald.service"


# tests/vm/tracepages runs these: it has the probes and a game to ask about.
ELSEWHERE = ("scx-gamer", "trace")


@pytest.mark.timeout(840)
def test_every_command_of_the_pages_works() -> None:
    assert {"install", "first-game", "troubleshooting"} <= {page.stem for page in PAGES}
    lines = [
        line
        for page in PAGES
        for line in commands_of(page)
        if line.split()[0] in ("scx-gamer", "systemctl", "journalctl", "ls")
        and tuple(line.split()[:2]) != ELSEWHERE
    ]
    # once each, and what switches the service off at the end
    last = {"stop": 1, "disable": 2}
    lines = sorted(dict.fromkeys(lines), key=lambda line: last.get(line.split()[1], 0))
    assert len(lines) > 12
    # what docs/netlimit.md says before its commands work
    DROP_IN.mkdir(parents=True, exist_ok=True)
    shutil.copy(TOP / "packaging/systemd/drop-ins/network-limits.conf", DROP_IN / "test.conf")
    run("systemctl", "daemon-reload")
    start()
    wait_until("the supervisor answers", lambda: status()["state"] in ("idle", "attached"), 60)
    with running(["sh", "-c", "while :; do sleep 0.01; done"]) as game:
        run("scx-gamer", "games", "add", str(game.pid))
        for line in lines:
            execute(line, game.pid)


def execute(line: str, pid: int) -> None:
    line = line.replace("some-game", GAME).replace("some-download.service", DOWNLOAD)
    words = line.replace("PID", str(pid)).split()
    if words[:2] == ["scx-gamer", "top"]:
        with on_screen(words, dict(os.environ)) as screen:
            screen.wait(lambda text: "q quit" in text, 90)
            screen.press("q")
            assert screen.end(60) == 0
        return
    began = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    # doctor's status is its verdict on this machine, which is fit
    assert done.returncode == 0, (
        f"{line}: {done.returncode} {done.stdout[-800:]}{done.stderr[-800:]}"
    )
    assert "Traceback" not in done.stderr
    assert done.stdout or words[1] in ("exec", "disable", "enable", "start", "stop"), line
    print(f"{line}: {time.monotonic() - began:.1f} s")
    if words[:2] == ["systemctl", "disable"]:
        assert show("ActiveState")["ActiveState"] == "inactive"

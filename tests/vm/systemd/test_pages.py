# SPDX-License-Identifier: GPL-2.0-only
"""The commands of docs/ as a reader types them, in the order of each page, beside the installed unit."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.pages import PAGES, commands_of
from tests.screen import on_screen
from tests.vm.harness import wait_until
from tests.vm.systemd.conftest import UNIT, run, show, start, status

# What the placeholders of the pages stand for.
GAME = "sleep 3"


def test_there_are_pages() -> None:
    assert {"install", "first-game", "troubleshooting"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_the_page_works(page: Path) -> None:
    lines = [
        line
        for line in commands_of(page)
        if line.split()[0] in ("scx-gamer", "systemctl", "journalctl", "ls")
    ]
    if not lines:
        return
    start()
    wait_until("the supervisor answers", lambda: status()["state"] in ("idle", "attached"), 60)
    Path("/tmp/scx-gamer-report.tar.gz").unlink(missing_ok=True)
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as game:
        try:
            run("scx-gamer", "games", "add", str(game.pid))
            for line in lines:
                execute(line, game.pid)
        finally:
            game.kill()
    run("systemctl", "disable", UNIT, check=False)


def execute(line: str, pid: int) -> None:
    words = line.replace("some-game", GAME).replace("PID", str(pid)).split()
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
    if words[:2] == ["systemctl", "disable"]:  # the next pages need it again
        assert show("ActiveState")["ActiveState"] == "inactive"
        start()

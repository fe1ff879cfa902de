# SPDX-License-Identifier: GPL-2.0-or-later
"""A real exec becomes a class in the kernel's own map, and goes with the process."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.vm.detect.conftest import CLASS_CRITICAL, CLASS_GAME, Desk, KernelMap
from tests.vm.harness import Supervised, kernel_state, wait_until


def games(sup: Supervised) -> list[dict[str, Any]]:
    found = sup.ask("games")
    assert isinstance(found, list)
    return found


def test_a_desktop_game_is_found_without_exec_and_its_end_is_noticed(
    desk: Desk, sup: Supervised, classes: KernelMap
) -> None:
    detection = sup.status()["detection"]
    assert (detection["source"], detection["filter"]) == ("bpf", "names")
    assert classes.get(sup.pid) == CLASS_CRITICAL, "a game waits for its class while it waits"
    pid = desk.start(desk.program("blobfrenzy"))
    wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
    sup.wait_state("attached")
    assert [(g["rule"], g["name"], g["main_pid"]) for g in games(sup)] == [
        ("desktop-entry", "Blob Frenzy", pid)
    ]
    told = sup.ask("explain", pid=pid)
    assert told["game"] and told["class"] == "GAME" and "Blob Frenzy" in str(told["evidence"])
    other = sup.ask("explain", pid=os.getpid())
    assert not other["game"] and other["class"] == "NORMAL" and other["because"]
    desk.kill(pid)
    began = time.monotonic()
    wait_until("no class", lambda: classes.get(pid) is None, 60)

    def ended() -> dict[str, Any]:
        found: dict[str, Any] = sup.ask("snapshot")
        return {} if found["control"]["game_active"][0] else found

    after = wait_until("no game", ended, 60)
    print(f"boost off {1000 * (time.monotonic() - began):.0f} ms after the end")
    assert after["state"] == "attached", "the grace: it may come back"
    sup.wait_state("idle")
    assert kernel_state() == "disabled"
    assert classes.get(sup.pid) == CLASS_CRITICAL


def test_a_steam_tree_is_found_by_its_reaper(
    desk: Desk, sup: Supervised, classes: KernelMap
) -> None:
    reaper, engine = desk.program("reaper", "/bin/sh"), desk.program("hl2_linux")
    script = f"{engine} 1000 & {engine} 2000 & wait"
    root = desk.start(reaper, "reaper", "-c", script, "SteamLaunch", "AppId=440", "--", "x")
    wait_until("a game", lambda: len(games(sup)) == 1 and games(sup)[0]["processes"] == 3, 60)
    (game,) = games(sup)
    assert (game["rule"], game["app_id"], game["pid"]) == ("steam", "440", root)
    told = sup.ask("explain", pid=game["main_pid"])
    members = [p["pid"] for p in told["tree"]]
    assert len(members) == 3 and all(classes.get(p) == CLASS_GAME for p in members)
    assert game["main_pid"] != root

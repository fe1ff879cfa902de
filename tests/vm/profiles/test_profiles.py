# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles against a real supervisor: the kernel's own map changes, the scheduler stays the one that it was."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control, metrics
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import Abi, find_object, kernel, object_btf
from scx_gamer.libbpf._native import native
from scx_gamer.scheduler.store import State
from tests import processes
from tests.vm.harness import Supervised, directories, faulty, start_supervisor, wait_until

ABI = Abi(object_btf(find_object("observe")))
TUNABLES = {i: n for i, n in ABI.names("tun").items() if i < ABI.constants["SCXG_NR_TUNABLES"]}
DEFAULTS = {n: ABI.constants[f"SCXG_DEF_{n.upper()}"] for n in TUNABLES.values()}


def in_kernel() -> dict[str, int]:
    """The tunables as the kernel's map has them: found by id and read by system call, asking no supervisor."""
    number = next(i for i, name in kernel.names("map").items() if name == "tunables")
    fd = native().check("map", "bpf_map_get_fd_by_id", number)
    try:
        value = (ctypes.c_uint64 * len(TUNABLES))()
        key = ctypes.c_uint32(0)
        native().check("lookup", "bpf_map_lookup_elem", fd, ctypes.byref(key), ctypes.byref(value))
    finally:
        os.close(fd)
    return {name: value[index] for index, name in TUNABLES.items()}


@dataclass
class Running:
    sup: Supervised
    etc: Path

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "SCX_GAMER_RUNTIME_DIR": str(self.sup.root / "run"),
            "SCX_GAMER_CONFIG_DIR": str(self.etc),
        }
        return subprocess.run(
            [sys.executable, "-m", "scx_gamer", *args],
            env=env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def set(self, name: str, *, sticky: bool = True) -> None:
        self.sup.ask("profile_set", name=name, sticky=sticky)

    def profile(self) -> dict[str, Any]:
        found = self.sup.status()["profile"]
        assert isinstance(found, dict)
        return found

    def write(self, name: str, text: str) -> None:
        path = self.etc / "profiles" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@contextmanager
def running(
    root: Path, mode: str = "always", state: str = "attached", env: dict[str, str] | None = None
) -> Iterator[Running]:
    """A supervisor with an /etc of its own."""
    etc = root / "etc"
    (etc / "profiles").mkdir(parents=True, exist_ok=True)
    options = SupervisorOptions(
        mode=mode, config_dir=str(etc), mode_fixed=True, backoff_s=(0.5, 0.5, 0.5)
    )
    with start_supervisor(options, root=root, state=state, env=env) as sup:
        yield Running(sup, etc)


def test_set_changes_the_kernels_map_and_no_generation() -> None:
    with directories() as root:
        with running(root) as run:
            assert in_kernel() == DEFAULTS
            generation = run.sup.status()["generation"]
            done = run.cli("profiles", "set", "server")
            assert done.stdout == "server: set by the user\n" and not done.stderr
            wanted = DEFAULTS | {
                "slice_us": 20000, "bg_slice_us": 20000, "bg_delay_ms": 0,
                "boost_keyboard_ms": 0, "boost_mouse_ms": 0, "boost_gamepad_ms": 0,
            }  # fmt: skip
            assert in_kernel() == wanted == run.profile()["tunables"]
            text = metrics.text_of(run.sup.ask("snapshot"))
            assert 'scx_gamer_profile{profile="server"} 1.0' in text
            assert 'scx_gamer_tunable{tunable="slice_us"} 20000.0' in text
            with pytest.raises(control.ControlError, match="did you mean server"):
                run.set("sever")
            assert in_kernel() == wanted
            status = run.sup.status()
            assert status["generation"] == generation and status["state"] == "attached"
        with running(root) as run:  # it stays over a restart
            assert run.profile()["chosen"] == "server" and in_kernel()["slice_us"] == 20000
            run.set("auto")
            assert in_kernel() == DEFAULTS
            run.set("server", sticky=False)
        with running(root) as run:
            assert run.profile()["chosen"] == "auto"


def test_files_that_change_sighup_and_broken_ones() -> None:
    with directories() as root, running(root) as run:
        run.write("mine.toml", "[tunables]\nslice_us = 4000\n")
        wait_until("the new file", lambda: run.profile()["reloads"]["ok"] >= 1)
        run.set("mine")
        generation = run.sup.status()["generation"]
        began = time.monotonic()
        run.write("mine.toml.d/10-more.toml", "[tunables]\nslice_us = 5000\n")
        wait_until("inotify", lambda: in_kernel()["slice_us"] == 5000)
        print(f"in the kernel {1000 * (time.monotonic() - began):.0f} ms after the write")
        run.write("mine.toml", "[tunables]\nslice_us = 4000\nbg_delay_ms = 900\n")
        wait_until("the error", lambda: run.profile()["errors"])
        (error,) = run.profile()["errors"]
        assert error.endswith(
            "mine.toml:3: tunables.bg_delay_ms is 900; use a whole number from 0 to 70"
        )
        assert in_kernel() == DEFAULTS | {"slice_us": 5000}
        assert "bg_delay_ms is 900" in run.sup.text()
        failed = run.profile()["reloads"]["failed"]
        os.kill(run.sup.pid, signal.SIGHUP)
        wait_until("SIGHUP", lambda: run.profile()["reloads"]["failed"] > failed)
        assert in_kernel()["slice_us"] == 5000
        (run.etc / "config.toml").write_text("[tunables]\nboost_mouse_ms = 77\n")
        run.write("mine.toml", "[tunables]\nbg_delay_ms = 11\n")
        os.kill(run.sup.pid, signal.SIGHUP)
        wanted = DEFAULTS | {"slice_us": 5000, "bg_delay_ms": 11, "boost_mouse_ms": 77}
        wait_until("the mended file", lambda: in_kernel() == wanted)
        assert not run.profile()["errors"]
        status = run.sup.status()
        assert status["generation"] == generation and status["state"] == "attached"


def test_the_games_own_profile_comes_with_it_and_goes() -> None:
    with directories() as root, running(root, mode="auto", state="idle") as run:
        run.write(
            "some.toml",
            'mode = "always"\n[match]\nexe = ["some-game"]\n[tunables]\nslice_us = 1000\n',
        )
        wait_until("the new file", lambda: run.profile()["reloads"]["ok"] >= 1)
        game = root / "some-game"
        shutil.copy("/bin/sleep", game)
        # as `exec` does it: the process is made a game first and becomes the program later
        script = 'read line; exec "$0" 300'
        with processes.running(
            ["/bin/sh", "-c", script, str(game)], stdin=subprocess.PIPE
        ) as process:
            run.sup.ask("game_add", pid=process.pid)
            assert run.profile()["active"] == "auto"
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            wait_until("the profile", lambda: run.profile()["active"] == "some")
            assert run.profile()["why"] == "exe some-game of the game that runs"
            assert in_kernel() == DEFAULTS | {"slice_us": 1000}
            run.sup.wait_state("attached")
        wait_until("the end of the game", lambda: run.profile()["active"] == "auto")
        assert in_kernel() == DEFAULTS
        run.sup.wait_state("idle")


def test_a_profile_under_which_alone_the_scheduler_fails_is_disabled() -> None:
    with directories() as root:
        (root / "state").mkdir()
        chosen = {"schema": 1, **asdict(State(profile="lowlatency"))}  # before the first error
        (root / "state/state.json").write_text(json.dumps(chosen))
        with running(root, env=faulty(fault_error_ms=1500), state="") as run:
            run.sup.wait_state("attached")
            wait_until("disabled", lambda: "lowlatency" in run.profile()["disabled"], 60)
            assert run.profile()["active"] == "auto" and in_kernel() == DEFAULTS
            assert "profile lowlatency is disabled" in run.sup.text()

# SPDX-License-Identifier: GPL-2.0-or-later
"""exec: the process that was asked is the game, whatever the supervisor does meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from scx_gamer.system import procfs
from tests.processes import running

TOP = Path(__file__).resolve().parents[3]
LATEST_S = 1.0  # after which the game starts, whatever the supervisor does


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def exec_(*args: str, stdin: int | None = None) -> AbstractContextManager[subprocess.Popen[str]]:
    return running(
        [sys.executable, "-m", "scx_gamer", "exec", *args],
        cwd=TOP, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "kill -KILL $$"], -signal.SIGKILL),
        (["/absent/command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_the_exit_status_is_the_commands(command: list[str], code: int) -> None:
    with exec_("--", *command) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    lines = err.splitlines()
    assert "runs without boost" in lines[0]
    assert len(lines) == (2 if code in (126, 127) else 1)


def test_no_process_stays_beside_the_game() -> None:
    with exec_("--", "sh", "-c", "echo $$; read line") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        assert children == ""
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 3' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with exec_("sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "got\n"
        assert process.wait(30) == 3


@pytest.mark.parametrize(
    "command",
    [
        # not through a shell: that clears the masks itself
        ["grep", "SigBlk", "/proc/self/status"],
        ["grep", "SigIgn", "/proc/self/status"],
        ["printf", "%s", "--help"],
        ["ls", "/proc/self/fd"],
    ],
)
def test_the_command_gets_signals_options_and_files_as_they_were(command: list[str]) -> None:
    """Like the same command without exec: a test run in the background ignores signals itself."""
    plain = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    with exec_(*command) as process:
        out, _ = process.communicate(timeout=30)
    assert out == plain.stdout


class Supervisor:
    """The control socket of one that takes connections and answers after `delay_s`, or never."""

    def __init__(self, folder: Path, delay_s: float | None) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "control.sock"))
        self._socket.listen(1)
        self._delay_s = delay_s
        self.requests: list[dict[str, object]] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._socket.accept()
        with client:
            self.requests.append(json.loads(client.recv(4096)))
            if self._delay_s is None:
                client.recv(1)  # until the other side gives up
                return
            time.sleep(self._delay_s)
            client.sendall(b'{"ok": true, "result": {}}\n')

    def close(self) -> None:
        self._thread.join(30)
        self._socket.close()


def test_the_mark_is_for_this_process_and_its_start(runtime: Path) -> None:
    supervisor = Supervisor(runtime, 0)
    with exec_("sh", "-c", "echo; read line", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wanted = {"op": "game_add", "pid": process.pid, "start": procfs.start_of(process.pid)}
        _, err = process.communicate("\n", timeout=30)
    supervisor.close()
    assert supervisor.requests == [wanted]
    assert err == ""


def test_a_supervisor_that_hangs_costs_a_second_at_most(runtime: Path) -> None:
    program = [sys.executable, "-c", "import time; print(time.monotonic())"]

    supervisor = Supervisor(runtime, None)
    before = time.monotonic()
    with exec_("--", *program) as process:
        out, err = process.communicate(timeout=60)
    supervisor.close()
    assert err.splitlines() == ["scx-gamer: runs without boost: no answer to game_add in 1 s"]
    assert float(out) - before >= LATEST_S

# SPDX-License-Identifier: GPL-2.0-or-later
"""Hints of an ordinary user to a real supervisor: of his own processes alone, and for boosts alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.service.session_hints import BURST
from tests.processes import running
from tests.vm.harness import Supervised, open_tree, python_in, start_supervisor, wait_until

USER, OTHER = 4711, 4712

# Each line of input is how often, and a hint; each line of output is what became of one. Runs as an ordinary user.
_CLIENT = """
import socket, sys
for text in sys.stdin:
    count, line = text.split(" ", 1)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
        sock.sendall(line.encode() * int(count))
        answers = sock.makefile()
        for _ in range(int(count)):
            print(answers.readline(), end="", flush=True)
"""


class Client:
    def __init__(self, sup: Supervised, uid: int, tree: Path) -> None:
        path = str(sup.root / "run/hints.sock")
        self.process = subprocess.Popen(
            [python_in(tree), "-I", "-c", _CLIENT, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            user=uid, group=uid, extra_groups=[], cwd="/",
        )  # fmt: skip

    def flood(self, kind: str, pid: int, count: int) -> list[dict[str, Any]]:
        """The same hint many times before the first answer is read."""
        assert self.process.stdin is not None and self.process.stdout is not None
        line = json.dumps({"op": "hint", "kind": kind, "pid": pid})
        self.process.stdin.write(f"{count} {line}\n")
        self.process.stdin.flush()
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def hint(self, kind: str, pid: int) -> dict[str, Any]:
        return self.flood(kind, pid, 1)[0]

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)


@contextmanager
def as_user(sup: Supervised, uid: int) -> Iterator[Client]:
    with open_tree() as tree:
        client = Client(sup, uid, tree)
        try:
            yield client
        finally:
            client.close()


@contextmanager
def program(uid: int) -> Iterator[int]:
    """Process of a user's program that just waits; of a name that is no tool's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = shutil.copy("/bin/sleep", f"{folder}/waiter")
        with running([path, "600"], user=uid, group=uid, extra_groups=[], cwd="/") as process:
            yield process.pid


def test_a_users_hints() -> None:
    with (
        start_supervisor(SupervisorOptions(mode="auto"), state="idle") as sup,
        as_user(sup, USER) as me, program(USER) as game, program(USER) as browser, program(OTHER) as his,
    ):  # fmt: skip
        (sup.root / "run").chmod(0o755)
        sup.root.chmod(0o755)
        for pid in (his, os.getpid(), sup.pid, 2):
            answer = me.hint("gamemode", pid)
            assert answer["ok"] is False and answer["error"] == f"process {pid} is not yours", (
                answer
            )
        assert sup.state() == "idle" and not sup.ask("games")

        assert me.hint("gamemode", game)["ok"]
        status = sup.wait_state("attached")
        assert [g["pid"] for g in sup.ask("games")] == [game]
        before = (status["generation"], status["profile"]["active"], status["profile"]["changes"])

        for pid, away in ((browser, 1), (game, 0), (browser, 1), (0, 0)):
            assert me.hint("focus", pid) == {"ok": True, "result": {"used": True}}

            def followed(wanted: int = away) -> bool:
                return bool(sup.ask("snapshot")["control"]["focus_away"] == [wanted])

            wait_until(f"focus on {pid}", followed)
        status = sup.status()
        after = (status["generation"], status["profile"]["active"], status["profile"]["changes"])
        assert after == before and status["state"] == "attached"

        with as_user(sup, OTHER) as stranger:
            answer = stranger.hint("focus", his)
            assert answer["error"] == "a game of another user runs"
            assert stranger.hint("focus", game)["ok"] is False

        answers = me.flood("focus", game, 3 * int(BURST))
        refused = [a["error"] for a in answers if not a["ok"]]
        assert refused and set(refused) == {"more than 10 hints a second"}
        results = sup.status()["session_hints"]
        assert results["owner"] >= 6 and results["rate"] == len(refused) and results["used"] >= 5


def test_the_agent_itself_reaches_the_supervisor(tmp_path: Path) -> None:
    """The command, as a user, listening to a stand-in for niri's socket: its focus arrives."""
    with (
        open_tree() as tree,
        start_supervisor(SupervisorOptions(mode="auto"), state="idle") as sup,
        program(USER) as pid,
    ):
        sup.root.chmod(0o755)
        folder = sup.root / "session"
        folder.mkdir()
        os.chown(folder, USER, USER)
        niri = (
            "import json, socket, sys\n"
            "server = socket.socket(socket.AF_UNIX)\n"
            "server.bind(sys.argv[1])\n"
            "server.listen()\n"
            "peer, _ = server.accept()\n"
            "while not peer.makefile().readline():  # the agent asked whether it answers\n"
            "    peer, _ = server.accept()\n"
            "window = {'id': 1, 'pid': int(sys.argv[2]), 'is_focused': True}\n"
            "for event in ({'Ok': 'Handled'}, {'WindowsChanged': {'windows': [window]}}):\n"
            "    peer.sendall(json.dumps(event).encode() + b'\\n')\n"
            "peer.recv(1)\n"
        )
        path = str(folder / "niri")
        who: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": [], "cwd": "/"}
        env = {
            "PATH": os.environ["PATH"],
            "NIRI_SOCKET": path,
            "SCX_GAMER_RUNTIME_DIR": str(sup.root / "run"),
        }
        python = python_in(tree)
        fake = subprocess.Popen([python, "-I", "-c", niri, path, str(pid)], **who)
        agent = None
        try:
            wait_until("the socket", (folder / "niri").exists)
            agent = subprocess.Popen(
                [python, "-m", "scx_gamer", "agent"], env=env | {"PYTHONPATH": str(tree)}, **who
            )
            wait_until("the focus", lambda: sup.status()["detection"]["focus_pid"] == pid, 180)
            agent.terminate()
            assert agent.wait(30) == 0
        finally:
            for process in (fake, agent):
                if process is not None:
                    process.kill()
                    process.wait(30)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket with a real client: every request of one message gets its answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from scx_gamer.control.operations import Access, Operation, Spec
from scx_gamer.control.server import ControlServer
from scx_gamer.system.loop import Loop


def test_requests_that_come_together_are_all_answered(tmp_path: Path) -> None:
    path, seen = tmp_path / "control.sock", 0
    count = Operation(lambda request, _uid: request["n"], Spec(Access.ALL))
    with Loop() as loop, socket.socket(socket.AF_UNIX) as client:
        server = ControlServer(loop, path, {"count": count})
        client.connect(str(path))
        client.settimeout(0.0)
        # the last one is not whole yet
        lines = b"".join(json.dumps({"op": "count", "n": n}).encode() + b"\n" for n in range(60))
        client.sendall(lines[:-5])
        answers = bytearray()

        def look() -> None:
            nonlocal seen
            with contextlib.suppress(BlockingIOError):
                answers.extend(client.recv(65536))
            if answers.count(b"\n") > seen:
                seen = answers.count(b"\n")
                if seen == 59:
                    client.sendall(lines[-5:])
            if seen == 60:
                loop.stop()
            loop.call_later(0.005, look, name="look")

        look()
        loop.call_later(20, loop.stop, name="too long")
        loop.run()
        server.close()
    told = [json.loads(line) for line in answers.splitlines()]
    assert told == [{"ok": True, "result": n} for n in range(60)]


@pytest.mark.parametrize("reads_only", [True, False])
def test_input_interrupts_an_answer_that_only_reads(tmp_path: Path, reads_only: bool) -> None:
    order: list[str] = []

    def call(_request: object, _uid: int) -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        order.append("answered")
        return "done"

    table = {"op": Operation(call, Spec(Access.ALL, query=reads_only))}
    with Loop() as loop, socket.socket(socket.AF_UNIX) as client:
        loop.add_signal(signal.SIGUSR1, loop.stop, in_signal_handler=lambda: order.append("input"))
        with contextlib.closing(ControlServer(loop, tmp_path / "control.sock", table)):
            client.connect(str(tmp_path / "control.sock"))
            client.sendall(b'{"op": "op"}\n')
            loop.call_later(20, loop.stop, name="too long")
            loop.run()
            assert json.loads(client.recv(4096)) == {"ok": True, "result": "done"}
    # Else it runs before the answer is encoded, which input may interrupt as well.
    assert order == (["input", "answered"] if reads_only else ["answered", "input"])

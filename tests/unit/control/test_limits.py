# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that mean no good: what one user can take is bounded, and root is answered all the same."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from scx_gamer import control
from scx_gamer.control import protocol, server
from scx_gamer.control.operations import Access, Operation, Spec
from scx_gamer.control.server import ControlServer
from scx_gamer.system.budget import Budget
from scx_gamer.system.loop import Loop

STRANGERS = (65534, 65533)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")


@contextmanager
def user(uid: int) -> Iterator[None]:
    """Act as another user: a socket carries the one that connected it."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket that any user reaches, and a server on a thread, with answers of 1 MiB."""
    table = {
        "large": Operation(lambda _request, _uid: "x" * (1 << 20), Spec(Access.ALL)),
        "endless": Operation(
            lambda _request, _uid: "x" * (protocol.MAX_ANSWER + 1), Spec(Access.ALL)
        ),
        "status": Operation(lambda _request, _uid: {"state": "idle"}, Spec(Access.ALL)),
    }
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory() as folder, Loop() as loop:
        os.chmod(folder, 0o755)
        path = Path(folder, "control.sock")
        made = ControlServer(loop, path, table)
        loop.add_fd(reader, lambda _fd: loop.stop(), name="end of test")
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            yield path
        finally:
            os.write(writer, b"x")
            thread.join(10)
            made.close()
            loop.remove_fd(reader)
            os.close(reader)
            os.close(writer)


def connect(path: Path, uid: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    with user(uid):
        sock.connect(str(path))
    sock.settimeout(10)
    return sock


def ask(sock: socket.socket, op: str) -> None:
    sock.sendall(json.dumps({"op": op}).encode() + b"\n")


def line(sock: socket.socket) -> dict[str, object]:
    with sock.makefile("rb") as file:
        return dict(json.loads(file.readline()))


@as_root
def test_the_budget_is_a_users_own_and_the_error_comes_at_once(path: Path) -> None:
    """A thousand requests of one user: refused without delay; the other user and root have all of theirs."""
    errors = answered = 0
    begun = time.monotonic()
    for _ in range(20):
        with connect(path, STRANGERS[0]) as sock:
            for _ in range(50):
                ask(sock, "status")
                if line(sock)["ok"]:
                    answered += 1
                else:
                    errors += 1
    took = time.monotonic() - begun
    assert answered <= server._BURST + took * server._PER_SECOND + 1
    assert errors == 1000 - answered
    for uid in (STRANGERS[1], 0):
        with connect(path, uid) as sock:
            ask(sock, "status")
            assert line(sock) == {"ok": True, "result": {"state": "idle"}}


@as_root
def test_what_a_user_leaves_unread_is_bounded_over_all_connections(path: Path) -> None:
    """Eight connections that ask for 1 MiB each and read nothing; then all of it is read."""
    with ExitStack() as stack:
        socks = [stack.enter_context(connect(path, STRANGERS[0])) for _ in range(8)]
        for sock in socks:
            ask(sock, "large")
        with connect(path, 0) as mine:
            ask(mine, "status")
            assert line(mine)["ok"]
        for sock in socks:  # all of them are answered before the first is read
            assert select.select([sock], [], [], 10)[0]
        found = [line(sock) for sock in socks]
    whole = [one for one in found if one["ok"]]
    assert 0 < len(whole) <= protocol.MAX_ANSWER >> 20
    assert all("unread" in str(one["error"]) for one in found if not one["ok"])


@as_root
def test_root_waits_for_one_answer_to_others() -> None:
    """Root asks during the first answer to a user who has sent forty questions over eight connections."""
    order: list[int] = []
    with tempfile.TemporaryDirectory() as folder, Loop() as loop, ExitStack() as stack:
        os.chmod(folder, 0o755)
        path = Path(folder, "control.sock")

        def status(_request: object, uid: int) -> int:
            if not order:
                ask(stack.enter_context(connect(path, 0)), "status")
            order.append(uid)
            if len(order) == 41:
                loop.stop()
            return uid

        table = {"status": Operation(status, Spec(Access.ALL))}
        with closing(ControlServer(loop, path, table)):
            socks = [stack.enter_context(connect(path, STRANGERS[0])) for _ in range(8)]
            for sock in socks:
                sock.sendall(b'{"op": "status"}\n' * 5)
            loop.run()
            for sock in socks:
                with sock.makefile("rb") as file:
                    assert [json.loads(file.readline())["result"] for _ in range(5)] == [
                        STRANGERS[0]
                    ] * 5
    assert order == [STRANGERS[0], 0, *[STRANGERS[0]] * 39]


@as_root
def test_who_opens_too_many_is_told_so_and_root_is_let_in(path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(server._MAX_PER_USER):
            stack.enter_context(connect(path, STRANGERS[0]))
        time.sleep(0.2)
        sock = stack.enter_context(connect(path, STRANGERS[0]))
        assert "too many connections" in str(line(sock)["error"])
        assert control.request("status", path=path, timeout_s=5) == {"state": "idle"}
        with user(STRANGERS[0]), pytest.raises(control.ControlError, match="too many connections"):
            control.request("status", path=path, timeout_s=5)


@pytest.mark.parametrize("interrupted", [False, True])
def test_who_fills_the_queue_of_connections_makes_root_wait_and_not_fail(interrupted: bool) -> None:
    """A client that did not block at connect was turned away at once by a full queue.

    One that a signal interrupted there took itself for connected.
    """
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1 * interrupted, 0.1)
        wait_in_a_full_queue()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def wait_in_a_full_queue() -> None:
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as full:
        other = Path(name, "socket")
        full.bind(str(other))
        full.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(other))
            begun = time.monotonic()
            with pytest.raises(control.UnreachableError, match=r"no answer to status in 0\.5 s"):
                control.request("status", path=other, timeout_s=0.5)
            assert time.monotonic() - begun >= 0.4


def test_an_endless_answer_is_an_error(path: Path) -> None:
    with pytest.raises(control.ControlError, match="the answer has more than"):
        control.request("endless", path=path, timeout_s=10)


def test_a_budget_fills_again_and_forgets_the_oldest() -> None:
    now = 0
    budget = Budget(10.0, 3.0, lambda: now)
    assert [budget.take(1) for _ in range(4)] == [True, True, True, False]
    assert budget.take(2)
    now += 100_000_000
    assert budget.take(1) and not budget.take(1)
    for key in range(3, 1000):
        budget.take(key)
    assert len(budget._left) == 256

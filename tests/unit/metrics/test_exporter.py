# SPDX-License-Identifier: GPL-2.0-or-later
"""The exporter: local only, never held up, nothing left after close."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from scx_gamer.metrics import exporter as module
from scx_gamer.metrics.exporter import Exporter, ExporterError
from scx_gamer.system.loop import Loop


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """The loop on a thread: here the test is the client."""
    reader, writer = os.pipe()
    loop.add_fd(reader, lambda _fd: loop.stop(), name="end of test")
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        os.write(writer, b"x")
        thread.join(10)
        loop.remove_fd(reader)
        os.close(reader)
        os.close(writer)


@contextmanager
def serving(scrape: Callable[[], Iterator[bytes]]) -> Iterator[Exporter]:
    with Loop() as loop, Exporter(loop, "127.0.0.1", 0, scrape) as one, running(loop):
        yield one


def two_parts() -> Iterator[bytes]:
    yield b"metric "
    yield b"1\n"


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with serving(two_parts) as one:
        yield one


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(request)
        found = b""
        while data := sock.recv(65536):
            found += data
        return found


def get(port: int, head: bytes = b"Host: localhost\r\n") -> bytes:
    return ask(port, b"GET /metrics HTTP/1.1\r\n" + head + b"\r\n")


def test_a_scrape(exporter: Exporter) -> None:
    head, _, body = get(exporter.port).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"text/plain; version=0.0.4" in head
    assert b"access-control" not in head.lower()
    assert body == b"metric 1\n"
    assert exporter.scrapes == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example:9\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nHost: [::1]:9\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nORIGIN : http://localhost\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nSec-Fetch-Site: same-origin\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nsec-fetch-site: cross-site\r\n\r\n", b"403"),
        (b"GET /metrics HTTP/1.1\r\nSec-Fetch-Site: none\r\n\r\n", b"200"),
        (b"GET /" + b"x" * 9000, b"431"),
    ],
)
def test_answers(exporter: Exporter, request_: bytes, status: bytes) -> None:
    assert ask(exporter.port, request_).split(b" ")[1] == status


def test_a_scraper_that_never_reads_holds_up_nobody_and_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(lambda: iter([b"x" * (8 << 20)])) as exporter, ExitStack() as stack:

        def deaf() -> None:
            """A scraper that asks, and reads nothing of its 8 MiB."""
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", exporter.port))
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

        monkeypatch.setattr(module, "_DEADLINE_S", 1000.0)
        deaf()
        # Whoever waited for the one before would time out.
        assert len(get(exporter.port)) > 8 << 20 and exporter.refused == 0
        monkeypatch.setattr(module, "_DEADLINE_S", 0.5)
        deaf()
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", exporter.port)))
        silent.settimeout(30)
        assert silent.recv(1) == b""
        deadline = time.monotonic() + 30
        while exporter.refused < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert exporter.refused == 2


def test_silent_connections_end_and_do_not_lock_a_scraper_out() -> None:
    """Somebody opens connections without end and says nothing: a scraper is answered, and they end by themselves."""
    with serving(two_parts) as exporter, ExitStack() as stack:

        def open_some(number: int) -> list[socket.socket]:
            new = [
                socket.create_connection(("127.0.0.1", exporter.port), timeout=30)
                for _ in range(number)
            ]
            return [stack.enter_context(one) for one in new]

        silent = open_some(3 * module._MAX_CONNECTIONS)
        assert get(exporter.port).endswith(b"metric 1\n")
        for one in open_some(module._MAX_CONNECTIONS):  # and these ask, and read nothing
            one.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert get(exporter.port).endswith(b"metric 1\n")
        begun = time.monotonic()
        late = open_some(1)[0]
        assert late.recv(1) == b""
        assert time.monotonic() - begun > module._SILENT_S - 0.5
        with suppress(ConnectionResetError):
            assert silent[-1].recv(1) == b""


def test_an_answer_serves_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def scrape() -> Iterator[bytes]:
        begun.append(1)
        yield b"metric %d\n" % len(begun)

    monkeypatch.setattr(module, "_CACHED_S", 30.0)
    with serving(scrape) as exporter:
        assert [get(exporter.port)[-2:] for _ in range(5)] == [b"1\n"] * 5
        assert exporter.scrapes == 5 and len(begun) == 1
        monkeypatch.setattr(module, "_CACHED_S", 0.0)
        assert get(exporter.port).endswith(b"metric 2\n")


def test_who_says_no_more_is_answered() -> None:
    with (
        serving(two_parts) as exporter,
        socket.create_connection(("127.0.0.1", exporter.port), timeout=5) as sock,
    ):
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while data := sock.recv(65536):
            found += data
        assert found.endswith(b"metric 1\n")


def test_a_scrape_is_put_together_once_for_all_who_wait() -> None:
    begun: list[int] = []

    def scrape() -> Iterator[bytes]:
        begun.append(1)
        yield b"metric 1\n"

    with serving(scrape) as exporter:
        asking = [
            socket.create_connection(("127.0.0.1", exporter.port), timeout=5) for _ in range(8)
        ]
        for sock in asking:
            sock.sendall(b"GET /metrics HTTP/1.0\r\n")
        for sock in asking:
            sock.sendall(b"\r\n")
        for sock in asking:
            with sock:
                found = b""
                while data := sock.recv(65536):
                    found += data
                assert found.endswith(b"metric 1\n")
        assert exporter.scrapes == 8 and len(begun) < 8


def test_others_have_their_turn_between_two_parts() -> None:
    def scrape() -> Iterator[bytes]:
        for _ in range(50):
            time.sleep(2 * module._PART_S)
            yield b"x"

    turns: list[int] = []
    with Loop() as loop, Exporter(loop, "127.0.0.1", 0, scrape) as exporter:

        def tick() -> None:
            turns.append(1)
            loop.call_later(0.001, tick, name="tick")

        loop.call_later(0, tick, name="tick")
        with running(loop):
            assert get(exporter.port).endswith(b"x" * 50)
            assert len(turns) >= 45


def test_a_failing_scrape_is_an_answer_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[bytes] = []

    def scrape() -> Iterator[bytes]:
        yield b""
        yield answers.pop()

    with serving(scrape) as exporter:
        assert b" 500 " in get(exporter.port)
        assert exporter.scrapes == 0
        answers.append(b"back\n")
        assert get(exporter.port).endswith(b"back\n")
    assert "a scrape failed" in caplog.text


def test_the_collector_rests_while_an_answer_is_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also amid it, between two parts; and not after an answer, a failure or an end before its time."""
    monkeypatch.setattr(module, "_CACHED_S", 0.0)
    seen: list[bool] = []
    failing = False

    def scrape() -> Iterator[bytes]:
        for _ in range(5):
            seen.append(gc.isenabled())
            time.sleep(2 * module._PART_S)
            yield b"x"
        if failing:
            raise ValueError

    with serving(scrape) as exporter:
        get(exporter.port)
        assert gc.isenabled()
        failing = True
        get(exporter.port)
        assert gc.isenabled()
    assert seen == [False] * 10
    with Loop() as loop:

        def stopping() -> Iterator[bytes]:
            loop.stop()
            time.sleep(2 * module._PART_S)
            yield b"x"
            yield b"y"

        with (
            Exporter(loop, "127.0.0.1", 0, stopping) as exporter,
            socket.create_connection(("127.0.0.1", exporter.port)) as sock,
        ):
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            loop.run()
            assert not gc.isenabled()
        assert gc.isenabled()


def test_nothing_is_left_after_close() -> None:
    fds = len(os.listdir("/proc/self/fd"))
    with Loop() as loop:
        one = Exporter(loop, "127.0.0.1", 0, two_parts)
        with socket.create_connection(("127.0.0.1", one.port)) as sock:
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            loop.call_later(0.05, loop.stop, name="end")
            loop.run()
            one.close()
            one.close()
        assert loop.stats().sources == loop.stats().timers == 0
    assert len(os.listdir("/proc/self/fd")) == fds


def test_a_taken_port_says_what_to_do(exporter: Exporter) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    with Loop() as loop:
        with pytest.raises(ExporterError, match=r"metrics\.port"):
            Exporter(loop, "127.0.0.1", exporter.port, two_parts)
        assert loop.stats().sources == 0
    assert len(os.listdir("/proc/self/fd")) == fds

# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of libc that keep the interpreter say what Python's own say."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from scx_gamer.input import syscalls


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_ready_says_what_epoll_says(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with select.epoll() as epoll:
        epoll.register(reader, select.EPOLLIN)
        assert syscalls.ready(epoll.fileno()) == epoll.poll(0) == []
        os.write(writer, b"x")
        assert syscalls.ready(epoll.fileno()) == epoll.poll(0) == [(reader, select.EPOLLIN)]
        number = epoll.fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        syscalls.ready(number)


def test_read_takes_what_is_there(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    buffer = syscalls.Buffer(4)
    assert buffer.read(reader) == b""
    os.write(writer, b"a\0cdef")
    assert (buffer.read(reader), buffer.read(reader)) == (b"a\0cd", b"ef")
    with pytest.raises(OSError, match="Bad file descriptor"):
        buffer.read(1 << 20)


def test_another_thread_is_not_let_in(pipe: tuple[int, int]) -> None:
    """With a switch interval of a second, who lets go of the interpreter waits a second for it."""
    import sys

    reader, writer = pipe
    before, busy = sys.getswitchinterval(), threading.Event()
    with select.epoll() as epoll:
        epoll.register(reader, select.EPOLLIN)
        buffer = syscalls.Buffer(8)
        os.write(writer, b"x")
        thread = threading.Thread(target=lambda: [busy.is_set() for _ in iter(busy.is_set, True)])
        try:
            thread.start()
            time.sleep(0.02)
            sys.setswitchinterval(1.0)
            began = time.monotonic()
            for _ in range(50):
                syscalls.ready(epoll.fileno())
                buffer.read(reader)
            # a hundred calls that let go would take a hundred seconds
            assert time.monotonic() - began < 10
        finally:
            sys.setswitchinterval(before)
            busy.set()
            thread.join(10)

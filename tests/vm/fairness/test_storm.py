# SPDX-License-Identifier: GPL-2.0-or-later
"""Two thousand threads that spin, and a fork storm: nobody is lost, nothing is ejected."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.attach.conftest import attach, attached, events, refills
from tests.vm.attach.test_attach import bound_ns

# 2 000 threads that spin, and one that forks without end: in one small program, since a program read over the
# guest's shared file system would wait behind all of them for each block.
SPIN = """
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_barrier_t start;
static void *spin(void *arg)
{
	pthread_barrier_wait(&start);
	for (;;) __asm__ volatile("" ::: "memory");
	return arg;
}
int main(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pthread_barrier_init(&start, 0, 2001);
	for (int i = 0; i < 2000; i++)
		if (pthread_create(&thread, &attr, spin, 0))
			return 1;
	pthread_barrier_wait(&start);
	for (;;) {
		pid_t child = fork();
		if (!child)
			_exit(0);
		waitpid(child, 0, 0);
	}
}
"""
SECONDS = 20


@pytest.fixture
def observer() -> Iterator[None]:
    """This process outside of the scheduler under test: its own turns among 2 000 threads would take minutes."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.mark.usefixtures("observer")
def test_two_thousand_spinning_threads_and_a_fork_storm(
    tmp_path: Path,
) -> None:
    (tmp_path / "spin.c").write_text(SPIN)
    subprocess.run(["cc", "-O1", "-pthread", "spin.c", "-o", "spin"], cwd=tmp_path, check=True)
    with attach() as life:
        before = refills()
        with subprocess.Popen([tmp_path / "spin"]) as spin:
            life.sleep(SECONDS)
            spin.kill()
        assert attached() or life.ended()
        assert refills() == before, events()
        print(f"oldest waiter {life.state.get('oldest_wait_max_ns') / 1e6:.1f} ms")
        assert life.state.get("oldest_wait_max_ns") < bound_ns(2300)

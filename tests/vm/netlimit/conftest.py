# SPDX-License-Identifier: GPL-2.0-or-later
"""Cgroups, the small Internet, and a supervisor that is switched off: no scheduler is attached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.vm.harness import Supervised, start_supervisor
from tests.vm.netlimit.world import Cgroup, Internet, tree

OFF = SupervisorOptions(mode="auto", input=False)


def warm(sup: Supervised) -> None:
    """Have the limiter's programs loaded: they stay as long as the supervisor does."""
    group = Cgroup("scxg-warm")
    try:
        sup.ask("net_limit", target=str(group.sleeper().pid), down="8M")
        sup.ask("net_release")
    finally:
        group.remove()
    assert tree() == {}


@pytest.fixture(scope="session")
def internet() -> Iterator[Internet]:
    with ExitStack() as stack:
        yield Internet(stack)


@pytest.fixture
def cgroup() -> Iterator[Callable[[str], Cgroup]]:
    with ExitStack() as stack:

        def make(name: str) -> Cgroup:
            made = Cgroup(name)
            stack.callback(made.remove)
            return made

        yield make


@pytest.fixture(scope="session")
def shared() -> Iterator[Supervised]:
    with start_supervisor(OFF, state="idle") as supervised:
        supervised.ask("stop")
        warm(supervised)
        yield supervised


@pytest.fixture
def sup(shared: Supervised) -> Iterator[Supervised]:
    """One for all tests; each gives back what it limited."""
    yield shared
    shared.ask("net_release")
    assert tree() == {}


@pytest.fixture
def own() -> Iterator[Supervised]:
    """One that the test may end."""
    with start_supervisor(OFF, state="idle") as supervised:
        supervised.ask("stop")
        warm(supervised)
        yield supervised
    assert tree() == {}

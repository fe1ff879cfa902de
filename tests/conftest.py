# SPDX-License-Identifier: GPL-2.0-or-later
"""The common start of every test, with any way of starting pytest."""

from __future__ import annotations

import shutil
import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "programs(name, …): large packages that only the root of `make test-python` has"
    )
    # A shell's background job ignores SIGINT, one under nohup SIGHUP; what is ignored stays so in every child.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, by name, tests of programs that are not installed."""

    def is_missing(item: pytest.Item) -> bool:
        marks = item.iter_markers("programs")
        return any(shutil.which(name) is None for mark in marks for name in mark.args)

    left_out = [item for item in items if is_missing(item)]
    if left_out:
        print("without their programs:", ", ".join(item.name for item in left_out))
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]

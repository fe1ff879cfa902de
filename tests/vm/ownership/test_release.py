# SPDX-License-Identifier: GPL-2.0-or-later
"""The way out needs nothing that may be gone by then."""

from __future__ import annotations

import builtins
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.service.supervisor import Supervisor
from scx_gamer.system.paths import Paths
from tests.vm.harness import directories, kernel_state
from tests.vm.life import OPTIONS


def test_release_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read below /proc fails from the moment we are told to end: detached all the same."""
    refused: list[str] = []

    def refuse(real: Any) -> Any:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if isinstance(path, str | Path) and str(path).startswith("/proc"):
                refused.append(str(path))
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return real(path, *arguments, **named)

        return call

    with directories() as root:
        sup = Supervisor(OPTIONS, Paths(root / "run", root / "state", root / "etc"))
        seen: list[str] = []

        def end() -> None:
            seen.append(kernel_state())
            sup.services.games.add(os.getppid(), "test")
            with_refusal.setattr("io.open", refuse(builtins.open))
            with_refusal.setattr(builtins, "open", refuse(builtins.open))
            with_refusal.setattr(os, "open", refuse(os.open))
            with_refusal.setattr(os, "listdir", refuse(os.listdir))
            with pytest.raises(OSError, match="No such file"):
                Path("/proc/self/stat").read_text()
            sup.loop.stop()

        with monkeypatch.context() as with_refusal:
            sup.loop.call_later(0.2, end, name="end")
            assert sup.run() == 0
        assert seen == ["enabled"] and refused
    assert kernel_state() == "disabled"

# SPDX-License-Identifier: GPL-2.0-only
"""Builds the BPF objects and puts them into the wheel as scx_gamer/bpf/*.bpf.o."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Runs `make bpf`; the objects depend on the compiler alone, so equal compilers give equal wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # a checkout finds its objects under build/bpf
            return
        root = Path(self.root)
        try:
            subprocess.run(["make", "-s", "-C", str(root), "bpf"], check=True)
        except FileNotFoundError as err:
            raise SystemExit(
                "scx_gamer: the BPF objects need make and clang 16 or later: install both"
            ) from err
        except subprocess.CalledProcessError as err:
            raise SystemExit("scx_gamer: the BPF objects could not be built, see above") from err
        for path in sorted((root / "build" / "bpf").glob("*.bpf.o")):
            if "faulty" not in path.name:
                build_data["force_include"][str(path)] = f"scx_gamer/bpf/{path.name}"

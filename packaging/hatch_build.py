# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the BPF objects and puts them into the wheel as scx_gamer/bpf/*.bpf.o."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBBPF = (1, 4)


def headers_problem(folders: list[Path]) -> str:
    """Return a one-line problem of the first libbpf headers found; empty if there is none."""
    need = f"the BPF objects need the headers of libbpf {LIBBPF[0]}.{LIBBPF[1]} or later"
    to_do = (
        "install libbpf-dev (Debian 12: from bookworm-backports), libbpf-devel (Fedora) or libbpf (Arch),"
        " or run packaging/bootstrap, which fetches them for this folder only"
    )
    for folder in folders:
        try:
            text = (folder / "bpf/libbpf_version.h").read_text()
        except OSError:
            continue
        found = re.findall(r"#define LIBBPF_(?:MAJOR|MINOR)_VERSION (\d+)", text)
        version = tuple(int(number) for number in found)
        return "" if version >= LIBBPF else f"{need}, {folder} has {'.'.join(found)}: {to_do}"
    return f"{need}, and there are none: {to_do}"


# The test build, and the benchmark's floor of cost.
UNSHIPPED = {"sched_faulty.bpf.o", "baseline.bpf.o"}


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Runs `make bpf`; the objects depend on the compiler alone, so equal compilers give equal wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # a checkout finds its objects under build/bpf
            return
        root = Path(self.root)
        problem = headers_problem([root / "build/sysroot/usr/include", Path("/usr/include")])
        if problem:
            raise SystemExit(f"scx_gamer: {problem}")
        try:
            subprocess.run(["make", "-s", "-C", str(root), "bpf"], check=True)
        except FileNotFoundError as err:
            raise SystemExit(
                "scx_gamer: the BPF objects need make and clang 16 or later: install both"
            ) from err
        except subprocess.CalledProcessError as err:
            raise SystemExit("scx_gamer: the BPF objects could not be built, see above") from err
        for path in sorted((root / "build" / "bpf").glob("*.bpf.o")):
            if path.name not in UNSHIPPED:
                build_data["force_include"][str(path)] = f"scx_gamer/bpf/{path.name}"

# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's package in tests: another version of it, and what dpkg and systemd write beside its files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

# Their own bookkeeping, caches and logs.
BOOKKEEPING = re.compile(
    r"var/(lib/(dpkg|systemd|polkit-1|prometheus)|log|cache|tmp)|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$"
    r"|etc/(group|passwd|gshadow|shadow|\.pwd)\.lock|run|tmp|root|home|mnt|proc|sys|dev"
)


def with_version(deb: Path, version: str, folder: Path, without: str = "") -> Path:
    """Return a copy of the package, made in `folder`, with another version and without one of its files."""
    tree, made = folder / "tree", folder / f"{version}.deb"
    subprocess.run(["dpkg-deb", "-R", str(deb), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(
        re.sub(r"^Version: .*", f"Version: {version}", control.read_text(), flags=re.M)
    )
    if without:
        (tree / without).unlink()
    subprocess.run(["dpkg-deb", "-Znone", "-b", str(tree), str(made)], check=True)
    return made

# SPDX-License-Identifier: GPL-2.0-or-later
"""scx-gamer as a package leaves it, in a guest whose files are a layer that goes with it."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from scx_gamer.dbus import BUS_NAME, old_name

TREE = Path(__file__).resolve().parents[2]
PACKAGING = TREE / "packaging"
SITE = Path("/usr/lib/python3/dist-packages")
LAUNCHER = """#!/usr/bin/python3
import sys
from scx_gamer.cli import main
sys.exit(main())
"""
# What rich could highlight: a thousand files that nothing here asks for.
UNUSED = shutil.ignore_patterns("lexers")
FILES = {
    **{
        f"dbus/{name}.service": f"/usr/share/dbus-1/system-services/{name}.service"
        for name in (BUS_NAME, old_name(BUS_NAME))
    },
    f"dbus/{BUS_NAME}.conf": f"/usr/share/dbus-1/system.d/{BUS_NAME}.conf",
    "dbus/io.github.scx_gamer.Loader.conf": "/usr/share/dbus-1/system.d/io.github.scx_gamer.Loader.conf",
    f"polkit/{BUS_NAME}.policy": f"/usr/share/polkit-1/actions/{BUS_NAME}.policy",
    "polkit/io.github.scx_gamer.Loader.policy": "/usr/share/polkit-1/actions/io.github.scx_gamer.Loader.policy",
    "polkit/scx-gamer.rules": "/usr/share/polkit-1/rules.d/scx-gamer.rules",
    "systemd/scx-gamer.service": "/usr/lib/systemd/system/scx-gamer.service",
    "systemd/scx-gamer-loader.service": "/usr/lib/systemd/system/scx-gamer-loader.service",
    "systemd/scx-gamer-agent.service": "/usr/lib/systemd/user/scx-gamer-agent.service",
    "sysusers/scx-gamer.conf": "/usr/lib/sysusers.d/scx-gamer.conf",
}


def needed(name: str) -> set[str]:
    """A distribution and what it requires, extras aside."""
    found: set[str] = set()
    todo = [name]
    while todo:
        current = todo.pop()
        if current in found:
            continue
        found.add(current)
        for line in metadata.requires(current) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name.lower().replace("_", "-"))
    return found


def _copy(distribution: metadata.Distribution) -> None:
    """Its packages and modules; its scripts stay behind."""
    tops = {file.parts[0] for file in distribution.files or () if ".." not in file.parts}
    for top in tops - {"__pycache__"}:
        source = Path(str(distribution.locate_file(top)))
        if source.is_dir():
            shutil.copytree(source, SITE / top, dirs_exist_ok=True, ignore=UNUSED)
        else:
            shutil.copy(source, SITE / top)


def install() -> None:
    """Copy everything to where it belongs; a second time does nothing. For guests only: it writes to /usr."""
    assert os.environ.get("SCX_GAMER_IN_VM"), "this would change the machine itself"
    done = Path("/run/scx-gamer-installed")
    if done.exists():
        return
    for name in sorted(needed("scx-gamer") - {"scx-gamer", "bcc"}):
        _copy(metadata.distribution(name))
    package = SITE / "scx_gamer"
    shutil.copytree(TREE / "scx_gamer", package)
    (package / "bpf").mkdir()
    for path in (TREE / "build" / "bpf").glob("*.bpf.o"):
        shutil.copy(path, package / "bpf" / path.name)
    shutil.copytree(TREE / "profiles", package / "profiles_data")
    # As a package does: a service that may write nowhere would compile everything at each start.
    compileall.compile_dir(package, quiet=2)
    for library in (TREE / "build/sysroot/usr/lib").glob("*/libbpf.so.1"):
        shutil.copy(library, f"/usr/lib/{library.parent.name}/libbpf.so.1")
    Path("/usr/bin/scx-gamer").write_text(LAUNCHER)
    Path("/usr/bin/scx-gamer").chmod(0o755)
    for source, target in FILES.items():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGING / source, target)
    # a guest without systemd has a file of its own mounted there, which cannot be replaced
    if " /etc/shadow " in Path("/proc/self/mountinfo").read_text():
        subprocess.run(["umount", "/etc/shadow"], check=True)
    subprocess.run(["systemd-sysusers", FILES["sysusers/scx-gamer.conf"]], check=True)
    done.touch()

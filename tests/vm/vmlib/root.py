# SPDX-License-Identifier: GPL-2.0-or-later
"""Root file systems of other Debian suites, made once and kept in the cache.

`python -m tests.vm.vmlib.root SUITE [gnome] [-- CMD…]` prints the folder, or runs a command in it, with this tree in
its place. `gnome` is a root of its own, for tests/agent/test_gnome_shell.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.vm.vmlib.debs import FetchError, cache_dir, locked, own_source

TREE = Path(__file__).resolve().parents[3]
# What the package depends on, what its test looks at it with, and what the unit tier needs besides.
PACKAGES = [
    "systemd-sysv",
    "dbus",
    "polkitd",
    "prometheus",
    "procps",
    "kmod",
    "iproute2",
    "udev",
    "python3",
    "libbpf1",
    "libelf1",
    "gcc",
    "libc6-dev",
    "linux-libc-dev",
    "make",
    "git",
    "python3-dbus-next",
    "python3-evdev",
    "python3-prometheus-client",
    "python3-pyudev",
    "python3-rich",
    "python3-typer",
    "python3-pytest",
    "python3-pytest-timeout",
    "python3-hypothesis",
    "python3-pyte",
    "python3-hatchling",
    "python3-jsonschema",
    "libbpf-dev",
]
# Only where commands run in the folder without a guest: a compiler that a guest need not carry, and what
# tests/unit/games/test_real_programs.py plays.
FOR_COMMANDS = [
    "clang",
    "python3-matplotlib",
    "love",
    "pysolfc",
    "frozen-bubble",
    "bubblewrap",
    "squashfuse",
]
FOR_COMMANDS += ["squashfs-tools", "chocolate-doom", "freedoom", "busybox-static", "xvfb"]
GNOME = ["gnome-shell", "xwayland", "weston", "dbus-daemon", "libgl1-mesa-dri", "python3-dbus-next"]
GNOME += ["python3-xlib", "python3-pytest", "python3-pytest-timeout"]


def folder_of(suite: str, packages: list[str] = PACKAGES, architecture: str = "") -> Path:
    """Return its directory, which depends on the list of packages."""
    digest = hashlib.sha256(" ".join([*packages, architecture]).strip().encode()).hexdigest()
    return cache_dir() / f"root-{suite}-{digest[:8]}"


def root(suite: str, packages: list[str] = PACKAGES, architecture: str = "") -> Path:
    """The folder; raises FetchError. Packages of another architecture are unpacked and not configured, because their
    programs do not run here; beside this machine's own ("amd64,arm64") libraries of it are installed."""
    folder = folder_of(suite, packages, architecture)
    variant = [
        "--variant=minbase" if not architecture or "," in architecture else "--variant=extract"
    ]
    if architecture:
        variant.append(f"--architectures={architecture}")
    with locked(folder.name):
        if (folder / ".complete").exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        uri, keyring = own_source()
        # An archive that a mirror has frozen is fine: only its packages' signatures matter here.
        command = [
            "mmdebstrap", "--quiet", *variant, "--aptopt=Acquire::Check-Valid-Until \"false\"",
            f"--include={','.join(packages)}", suite, str(folder),
            f"deb [signed-by={keyring}] {uri} {suite} main",
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise FetchError(f"mmdebstrap {suite}: {done.stderr.strip().splitlines()[-3:]}")
        (folder / ".complete").touch()
    return folder


def run(folder: Path, command: list[str]) -> int:
    """A command in the folder, in a mount namespace of its own, with the system's and the tree's folders."""
    # a mount of its own, which a program that makes a sandbox wants its root to be
    script = ["set -e", f"mount --bind {folder} {folder}", f"mount -t tmpfs none {folder}/tmp"]
    # a worktree has its repository elsewhere, and a test asks it for the files
    repository = subprocess.run(
        ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"],
        cwd=TREE, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    for name in dict.fromkeys(("/proc", "/sys", "/dev", str(TREE), repository or str(TREE))):
        script += [f"mkdir -p {folder}{name}", f"mount --rbind {name} {folder}{name}"]
    script.append(f'exec chroot {folder} sh -c \'cd {TREE} && exec "$@"\' sh "$@"')
    environ = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "PYTHONDONTWRITEBYTECODE": "1",
        # the tree belongs to whoever checked it out
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
    }  # fmt: skip
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", "\n".join(script), "sh", *command], env=environ, check=False
    ).returncode


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("error: a root file system is made by root: use sudo", file=sys.stderr)
        return 77
    suite, *rest = arguments
    packages = PACKAGES + FOR_COMMANDS if rest else PACKAGES
    if rest[:1] == ["gnome"]:
        packages, rest = GNOME, rest[1:]
    try:
        folder = root(suite, packages)
    except FetchError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    if rest[:1] == ["--"]:
        return run(folder, rest[1:])
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

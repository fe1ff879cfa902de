# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated arm64 board with big and little cores: its device tree, its root file system, and the launch of both.

The board is QEMU's `virt` with the processor of an RK3588 and, in its device tree, that chip's capacities: the kernel
derives `cpu_capacity` and its scheduling domains from them as it does on the board itself.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.vm.vmlib.debs import FetchError
from tests.vm.vmlib.machines import find
from tests.vm.vmlib.root import TREE, root, run

ARCHITECTURE = "arm64"
_MACHINE = "aarch64"
_QEMU = f"qemu-system-{_MACHINE}"
_BOARD = ("-machine", "virt,gic-version=3", "-cpu", "cortex-a76")
_INIT = TREE / "tests" / "vm" / "vmlib" / "init-foreign"
_SCRIPT = """#!/bin/bash
set -- "${{@/ init=/ init={init} vng_init=}}"
exec {qemu} {arguments} {more}
"""
# In lockstep as tests/vm/vmlib/guest.py has it for x86: no stdin, which has an end at a time of the host's choice. A
# device answers in the instruction that asks it, for which the patch provides with PCI alone.
_ARGUMENTS = '"$@"'
_LOCKSTEP = ("-global", "virtio-mmio.ioeventfd=off")
_LOCKSTEP_ARGUMENTS = '"${@/#stdio,id=stdin*/null,id=stdin}"'
LITTLE, BIG = sorted({int(cpu.sysfs["cpu_capacity"]) for cpu in find("rk3588").cpus})
# What tests/vm/conftest.py, the supervisor and the guest's first process need; no package is configured.
PACKAGES = [
    "base-files", "base-passwd", "bash", "bpftool", "busybox-static", "coreutils", "dash", "dbus", "gcc", "grep",
    "iproute2", "kmod", "libbpf1", "libc6-dev", "libelf1", "mount", "procps", "python3", "python3-dbus-next",
    "python3-evdev", "python3-hypothesis", "python3-prometheus-client", "python3-pytest", "python3-pytest-timeout",
    "python3-pyudev", "python3-rich", "python3-typer", "sed", "udev", "util-linux",
]  # fmt: skip
# What builds the Debian package for the board: packaging/debian's build dependencies, and Debian's cross compiler.
BUILD_PACKAGES = [
    "clang", "debhelper", "dh-python", "gcc", f"gcc-{_MACHINE}-linux-gnu", "git", "libbpf-dev", "libc6-dev",
    f"libc6-dev:{ARCHITECTURE}", "linux-libc-dev", "llvm", "make", "python3", "python3-rich", "python3-typer",
]  # fmt: skip
# The files of the built package, and its control files in DEBIAN.
PACKAGE = TREE / "build" / ARCHITECTURE / "files"


def capacities(cpus: int) -> list[int]:
    """Return each CPU's capacity: the little ones come first, as on the board."""
    return [LITTLE] * (cpus // 2) + [BIG] * (cpus - cpus // 2)


def foreign_root(suite: str = "sid") -> Path:
    """Return the root file system, made on the first use. Raises FetchError."""
    if missing := [name for name in (_QEMU, "fdtput") if shutil.which(name) is None]:
        what = " and ".join(missing)
        raise FetchError(f"no {what}: apt-get install qemu-system-arm device-tree-compiler")
    folder = root(suite, PACKAGES, ARCHITECTURE)
    for name in ("passwd", "group"):  # base-passwd's maintainer script would do that
        if not (folder / "etc" / name).exists():
            shutil.copy(folder / "usr/share/base-passwd" / f"{name}.master", folder / "etc" / name)
    if not (folder / "usr/bin/cc").exists():  # and gcc's
        (folder / "usr/bin/cc").symlink_to("gcc")
    return folder


def package() -> Path:
    """Build the Debian package for the board, and return the folder of its files. Raises FetchError."""
    own = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True)
    folder = root("sid", BUILD_PACKAGES, f"{own.stdout.strip()},{ARCHITECTURE}")
    out = PACKAGE.parent
    shutil.rmtree(out, ignore_errors=True)
    if run(folder, ["make", "-s", "deb", f"DEB_ARCH={ARCHITECTURE}", f"PACKAGE={out}"]):
        raise FetchError(f"no package for {ARCHITECTURE}: see {out}/deb.log")
    (found,) = out.glob(f"scx-gamer_*_{ARCHITECTURE}.deb")
    subprocess.run(["dpkg-deb", "-R", found, PACKAGE], check=True)
    return PACKAGE


def device_tree(cpus: int, memory: str, out: Path, lockstep: Path | None) -> Path:
    """Write the board's device tree: with the capacities, and in lockstep without random seeds. Raises FetchError."""
    randomness = ",dtb-randomness=off" if lockstep else ""
    dump = [*_BOARD, "-machine", f"dumpdtb={out}{randomness}", "-smp", str(cpus), "-m", memory]
    commands = [[str(lockstep or _QEMU), *dump, "-nographic"]] + [
        ["fdtput", "-t", "u", str(out), f"/cpus/cpu@{number:x}", "capacity-dmips-mhz", str(value)]
        for number, value in enumerate(capacities(cpus))
    ]
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as err:
            raise FetchError(
                f"device tree: {command[0]}: {getattr(err, 'stderr', b'') or err}"
            ) from None
    return out


def qemu(
    cpus: int, memory: str, folder: Path, scratch: Path, lockstep: Path | None, options: str
) -> str:
    """Return a script that vng runs as QEMU, for the root file system in `folder`. Raises FetchError."""
    tree = device_tree(cpus, memory, scratch / "board.dtb", lockstep)
    files = f"local,id=scxg,path={folder},security_model=none,readonly=on,multidevs=remap"
    more = [*_BOARD, "-dtb", str(tree), "-fsdev", files]
    more += ["-device", "virtio-9p-device,fsdev=scxg,mount_tag=scxg.root"]
    return _SCRIPT.format(
        init=_INIT,
        qemu=lockstep or _QEMU,
        arguments=_LOCKSTEP_ARGUMENTS if lockstep else _ARGUMENTS,
        more=shlex.join([*more, *((*_LOCKSTEP, *options.split()) if lockstep else ())]),
    )


def with_mounts(command: list[str], folder: Path, image: Path) -> list[str]:
    """Return `command` in a mount namespace in which the root file system has this tree and the kernel's modules."""
    mounts = {TREE: folder / str(TREE)[1:], image.parent: folder / "usr/lib/modules" / image.parent.name}  # fmt: skip
    script = ["set -e"]
    for source, target in mounts.items():
        target.mkdir(parents=True, exist_ok=True)
        script.append(f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(target))}")
    return ["unshare", "-m", "sh", "-c", "\n".join([*script, 'exec "$@"']), "sh", *command]


def main(arguments: list[str]) -> int:
    """`python -m tests.vm.vmlib.foreign [package]`: have the root file system in the cache, or build the package, and
    print its folder."""
    try:
        print(package() if arguments == ["package"] else foreign_root())
    except FetchError as err:
        print(f"error: {err}", file=sys.stderr)
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether KVM works here: found by booting with it. A /dev/kvm that opens proves nothing, some hang the guest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.vm.vmlib.debs import cache_dir

PROBE_S = 15


def possible() -> bool:
    """Return True if there is something to try: the device, and a QEMU that takes it."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and bool(shutil.which("qemu-system-x86_64"))


def works(image: Path) -> bool:
    """True when a kernel runs to its end (a panic for want of a root) under KVM; asked once a boot of this machine."""
    if not possible():
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = cache_dir() / f"kvm-{boot}"
    if not known.exists():
        known.write_text("yes" if _boots(image) else "no")
    return known.read_text() == "yes"


def _boots(image: Path) -> bool:
    command = [
        "qemu-system-x86_64",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "512",
        "-nographic",
        "-no-reboot",
    ]
    command += ["-kernel", str(image), "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"]
    try:
        output = subprocess.run(
            command, capture_output=True, timeout=PROBE_S, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"Linux version" in output

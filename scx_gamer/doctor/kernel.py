# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of the running kernel and of this user's capabilities."""

from __future__ import annotations

import gzip
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from scx_gamer.doctor.model import FAIL, INFO, OK, WARN, Finding
from scx_gamer.libbpf import KernelBtf, LibbpfTooOld
from scx_gamer.libbpf.kernel import BTF, BTF_HINT
from scx_gamer.scheduler import sysfs
from scx_gamer.system.exit_codes import NO_PERMISSION, UNSUPPORTED
from scx_gamer.system.files import read_text
from scx_gamer.system.procfs import capabilities_of

_OPTIONS = (
    "CONFIG_SCHED_CLASS_EXT",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_BPF_JIT",
    "CONFIG_DEBUG_INFO_BTF",
)

# kfuncs that some kernels' BTF shows with one argument too many, and what their absence costs
_AUX_KFUNCS = {
    "scx_bpf_kick_cpu": "preemption goes through a local insert instead",
    "scx_bpf_task_set_slice": "the slice is stored directly",
}


def kernel() -> Iterator[Finding]:
    """Report whether the running kernel has sched_ext."""
    release = platform.release()
    why = sysfs.unsupported()
    if why:
        place, missing = configuration()
        if _OPTIONS[0] in missing:
            why += f"; {place} does not set it"
        to_do = "boot a kernel of 6.12 or later with CONFIG_SCHED_CLASS_EXT=y"
        yield Finding(FAIL, "kernel", f"{release}: {why}", to_do, UNSUPPORTED)
    else:
        yield Finding(OK, "kernel", f"{release} has sched_ext, now {sysfs.state()}")


def configuration() -> tuple[Path | None, list[str]]:
    """Return the first readable configuration of the running kernel, and the options that it lacks."""
    release = platform.release()
    places = (
        Path("/proc/config.gz"),
        Path("/boot", f"config-{release}"),
        Path("/lib/modules", release, "config"),
        Path("/lib/modules", release, "build/.config"),
    )
    for place in places:
        try:
            raw = place.read_bytes()
            text = gzip.decompress(raw) if place.suffix == ".gz" else raw
        except (OSError, EOFError, gzip.BadGzipFile):
            continue
        return place, missing_options(text.decode("ascii", "replace"))
    return None, []


def config_options() -> Iterator[Finding]:
    """Check the options besides that of sched_ext, which `kernel` infers from sysfs."""
    place, missing = configuration()
    missing = [option for option in missing if option != _OPTIONS[0]]
    if place is None:
        what = "this kernel's configuration is not on the machine"
        to_do = "nothing: the checks of the kernel itself count"
        yield Finding(INFO, "config options", what, to_do)
    elif missing:
        what = f"{place} lacks {', '.join(missing)}"
        yield Finding(FAIL, "config options", what, "use a kernel that has them", UNSUPPORTED)
    else:
        yield Finding(OK, "config options", f"{place} has all that are needed besides")


def missing_options(text: str) -> list[str]:
    """Return the needed options that a kernel configuration does not set."""
    return [o for o in _OPTIONS if not re.search(rf"^{o}=[ym]\s*$", text, re.MULTILINE)]


def btf() -> Iterator[Finding]:
    """Check the BTF of the kernel, without which no program can be relocated."""
    if os.access(BTF, os.R_OK):
        yield Finding(OK, "BTF", "the kernel carries its BTF")
    else:
        yield Finding(FAIL, "BTF", f"no {BTF}", BTF_HINT, UNSUPPORTED)


def jit() -> Iterator[Finding]:
    """Check the BPF JIT, without which struct_ops cannot be attached."""
    try:
        value = Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip()
    except OSError as error:
        yield Finding(INFO, "JIT", f"cannot be read: {error.strerror}", "run doctor as root")
        return
    if value == "0":
        to_do = "sysctl net.core.bpf_jit_enable=1"
        yield Finding(FAIL, "JIT", "the BPF JIT is off", to_do, UNSUPPORTED)
    else:
        yield Finding(OK, "JIT", "the BPF JIT is on")


def missing_capabilities() -> list[str]:
    """Return the capabilities that loading programs needs and this process lacks."""
    caps = capabilities_of(os.getpid()) or 0
    needed = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_NET_ADMIN": 12}
    if caps >> 21 & 1:  # CAP_SYS_ADMIN holds the first two
        return []
    return [name for name, bit in needed.items() if not caps >> bit & 1]


def permissions() -> Iterator[Finding]:
    """Report whether this user may load BPF programs."""
    missing = missing_capabilities()
    if missing:
        what = f"lacks {', '.join(missing)}: the BPF programs were not tried"
        yield Finding(FAIL, "permissions", what, "run doctor as root", NO_PERMISSION)
    else:
        yield Finding(OK, "permissions", "may load BPF programs")


def libbpf() -> Iterator[Finding]:
    """Report the libbpf in use."""
    from scx_gamer.libbpf._native import native, version_of

    try:
        path = native().path
    except LibbpfTooOld as error:
        yield Finding(FAIL, "libbpf", error.what, error.hint, UNSUPPORTED)
        return
    major, minor = version_of(path)
    yield Finding(OK, "libbpf", f"{major}.{minor} ({path})")


def hidden_arguments() -> Iterator[Finding]:
    """Report kfuncs that an old pahole described with an argument no program may pass."""
    with KernelBtf() as kernel_btf:
        hidden = [name for name in _AUX_KFUNCS if kernel_btf.has_hidden_argument(name)]
    if not hidden:
        yield Finding(OK, "kfuncs", "their prototypes in BTF are clean")
    for name in hidden:
        what = f"{name} has a hidden argument in this kernel's BTF: {_AUX_KFUNCS[name]}"
        to_do = "nothing is broken; a kernel built with pahole 1.31 or later has it plain"
        yield Finding(WARN, "kfuncs", what, to_do)


def lockdown(path: Path = Path("/sys/kernel/security/lockdown")) -> Iterator[Finding]:
    """Check that lockdown permits BPF programs to read kernel memory."""
    text = read_text(path)
    if text is None:
        return
    mode = (re.findall(r"\[(\w+)\]", text) or ["none"])[0]
    if mode == "confidentiality":
        to_do = "boot without lockdown=confidentiality; lockdown=integrity is fine"
        what = "lockdown is confidentiality: BPF programs may not read kernel memory"
        yield Finding(FAIL, "lockdown", what, to_do, UNSUPPORTED)
    else:
        yield Finding(OK, "lockdown", mode)

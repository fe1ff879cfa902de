# SPDX-License-Identifier: GPL-2.0-or-later
"""Our programs, loaded for a trial: asking the kernel is not enough."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from scx_gamer import control
from scx_gamer.doctor.kernel import missing_capabilities
from scx_gamer.doctor.model import FAIL, INFO, OK, WARN, Finding
from scx_gamer.libbpf import BpfError, Object, find_object
from scx_gamer.scheduler import sysfs
from scx_gamer.scheduler.attached import fit_ops
from scx_gamer.system.exit_codes import UNSUPPORTED
from scx_gamer.system.text import printable

# What each program of observe is for, and what is left without it.
_HOOKS = {
    "drain": (
        "control messages",
        "scx-gamer cannot run: use a kernel with the syscall programs of 5.14",
    ),
    "on_input": (
        "opening boost windows in the kernel",
        "evdev does it instead, a little later; a kernel with CONFIG_FUNCTION_TRACER has the hook",
    ),
    "on_inject": (
        "seeing what remappers write to a device",
        "such events open no window; a kernel with CONFIG_FUNCTION_TRACER has the hook",
    ),
    "on_exec": (
        "seeing programs start",
        "the proc connector takes over, else a poll each second; a kernel with CONFIG_TRACEPOINTS has the hook",
    ),
    "on_exit": (
        "seeing processes end",
        "the proc connector takes over, else a poll each second; a kernel with CONFIG_TRACEPOINTS has the hook",
    ),
    "on_rename": (
        "seeing what Wine calls a process",
        "its command line is looked at again ten times a second instead; nothing is lost",
    ),
    "on_fork": (
        "seeing processes begin",
        "the proc connector takes over, else a poll each second; a kernel with CONFIG_TRACEPOINTS has the hook",
    ),
}


def hooks() -> Iterator[Finding]:
    """Load each program of observe on its own, because nothing less shows that the kernel takes it."""
    path = find_object("observe")
    with Object.open(path) as found:
        names = sorted(found.programs)
    for name in names:
        with Object.open(path) as trial:
            for other, program in trial.programs.items():
                program.set_autoload(other == name)
            purpose, to_do = _HOOKS.get(name, ("one feature", "that feature alone is missing"))
            yield from _tried(trial, f"hook {name}", f"{purpose}: ", to_do)


def scheduler() -> Iterator[Finding]:
    """Have the kernel verify the scheduler without attaching it, if the kernel has sched_ext."""
    if sysfs.unsupported():
        return
    with Object.open(find_object("sched")) as trial:
        fit_ops(trial)
        to_do = "this kernel's verifier does not take it: run scx-gamer report and send it to us"
        yield from _tried(trial, "scheduler", "", to_do)


def network_limit() -> Iterator[Finding]:
    """Check cgroup2, the programs that limit traffic, and those that an earlier supervisor left."""
    from scx_gamer.netlimit import cgroups, programs

    name = "network limit"
    found = cgroups.hierarchy()
    if found.mount is None:
        to_do = "boot with systemd.unified_cgroup_hierarchy=1"
        yield Finding(WARN, name, "no cgroup2 is mounted: traffic cannot be limited", to_do)
        return
    kind = "hybrid hierarchy, cgroup2" if found.hybrid else "cgroup2"
    yield Finding(OK, name, f"{kind} on {printable(str(found.mount))}")
    with Object.open(find_object(programs.OBJECT)) as trial:
        yield from _tried(
            trial, name, "", "traffic cannot be limited on this kernel: see docs/troubleshooting.md"
        )
    try:
        left = programs.leftovers(found.mount)
    except BpfError as error:
        if error.errno != errno.EPERM:
            raise
        what = "leftovers not looked for: the kernel shows programs on cgroups to root alone"
        yield Finding(INFO, name, what, "run doctor as root")
        return
    if not left:
        yield Finding(OK, name, "no program of ours is on any cgroup")
        return
    where = ", ".join(sorted({printable(path, 64) for path, *_rest in left})[:4])
    if _is_supervised():
        yield Finding(OK, name, f"{len(left)} programs at work on {where}")
    else:
        what = f"{len(left)} programs of ours are on {where} though no supervisor runs"
        yield Finding(WARN, name, what, "sudo scx-gamer net release")


def _is_supervised() -> bool:
    try:
        control.request("net_status", timeout_s=5.0)
    except control.ControlError:
        return False
    return True


def _tried(trial: Object, name: str, purpose: str, to_do: str) -> Iterator[Finding]:
    """Load `trial`. Says nothing about a caller without the permission: that is the finding of `permissions`."""
    try:
        trial.load()
    except BpfError as error:
        if error.errno in (errno.EPERM, errno.EACCES) and missing_capabilities():
            return
        # the error's own hint is about permission, and that is there
        reason = os.strerror(error.errno) if error.errno else "no reason given"
        said = f"{error.what}: {reason}{f' [{error.reason}]' if error.reason else ''}"
        code = UNSUPPORTED if name == "scheduler" else 0
        yield Finding(FAIL if code else WARN, name, f"{purpose}refused: {said}", to_do, code)
    else:
        yield Finding(OK, name, f"{purpose}loads")

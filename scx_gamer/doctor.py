# SPDX-License-Identifier: GPL-2.0-only
"""What of scx-gamer works on this machine, found by trying, without leaving a trace.

Programs are loaded to see whether the kernel takes them and closed at once; nothing is attached.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from scx_gamer import kernelstate
from scx_gamer.config import ConfigError, load
from scx_gamer.libbpf import Abi, BpfError, KernelBtf, LibbpfTooOld, Object, find_object, object_btf
from scx_gamer.text import printable

OK, INFO, WARN, FAIL = "ok", "info", "warn", "fail"
UNSUPPORTED, NO_PERMISSION, BAD_CONFIG = 69, 77, 78

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
# first 15 characters, as /proc/PID/comm has them
_RENICERS = {
    "ananicy-cpp": "ananicy-cpp",
    "ananicy": "ananicy",
    "system76-schedu": "system76-scheduler",
    "gamemoded": "gamemode",
}


@dataclass(frozen=True)
class Finding:
    """`level`: ok, info, warn, fail. `code`: the exit status a failure stands for, else 0."""

    level: str
    check: str
    what: str
    to_do: str = ""
    code: int = 0


@dataclass(frozen=True)
class Report:
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 when nothing failed; else the gravest: no kernel, no permission, configuration."""
        codes = {finding.code for finding in self.findings if finding.level == FAIL}
        return next((c for c in (UNSUPPORTED, NO_PERMISSION, BAD_CONFIG) if c in codes), 0)

    def as_dict(self) -> dict[str, object]:
        """The schema of doctor --json."""
        return {"schema": 1, "exit": self.exit_code, "findings": [asdict(f) for f in self.findings]}


def examine() -> Report:
    """All checks. A check that fails in a way of its own is a finding too."""
    found: list[Finding] = []
    for check in (
        kernel,
        config_options,
        btf,
        jit,
        permissions,
        libbpf,
        hidden_arguments,
        hooks,
        scheduler,
        other_scheduler,
        cgroup,
        renicers,
        bcc,
        configuration,
    ):
        found.extend(_guarded(check))
    return Report(tuple(found))


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    name = check.__name__.replace("_", " ")
    try:
        yield from check()
    except LibbpfTooOld as error:
        yield Finding(WARN, name, "not checked: libbpf cannot be used", error.hint)
    except (BpfError, OSError) as error:
        yield Finding(WARN, name, f"not checked: {error}")


def kernel() -> Iterator[Finding]:
    """Whether the running kernel has sched_ext."""
    release = platform.release()
    why = kernelstate.unsupported()
    if why:
        to_do = "boot a kernel of 6.12 or later with CONFIG_SCHED_CLASS_EXT=y"
        yield Finding(FAIL, "kernel", f"{release}: {why}", to_do, UNSUPPORTED)
    else:
        yield Finding(OK, "kernel", f"{release} has sched_ext, now {kernelstate.state()}")


def config_options() -> Iterator[Finding]:
    """What the kernel was built with, where it says so."""
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
        missing = missing_options(text.decode("ascii", "replace"))
        if missing:
            what = f"{place} lacks {', '.join(missing)}"
            yield Finding(FAIL, "config options", what, "use a kernel that has them", UNSUPPORTED)
        else:
            yield Finding(OK, "config options", f"{place} has all {len(_OPTIONS)} needed")
        return
    yield Finding(INFO, "config options", "this kernel's configuration is not on the machine")


def missing_options(text: str) -> list[str]:
    """Of the options needed, those a kernel configuration does not set."""
    return [o for o in _OPTIONS if not re.search(rf"^{o}=[ym]\s*$", text, re.MULTILINE)]


def btf() -> Iterator[Finding]:
    """BTF of the kernel, without which no program can be relocated."""
    if os.access("/sys/kernel/btf/vmlinux", os.R_OK):
        yield Finding(OK, "BTF", "the kernel carries its BTF")
    else:
        to_do = "use a kernel with CONFIG_DEBUG_INFO_BTF=y"
        yield Finding(FAIL, "BTF", "no /sys/kernel/btf/vmlinux", to_do, UNSUPPORTED)


def jit() -> Iterator[Finding]:
    """The BPF JIT: without it struct_ops cannot be attached."""
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


def permissions() -> Iterator[Finding]:
    """Whether this user may load BPF programs."""
    status = Path("/proc/self/status").read_text()
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    caps = int(match[1], 16) if match else 0
    needed = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_NET_ADMIN": 12, "CAP_SYS_NICE": 23}
    missing = [name for name, bit in needed.items() if not caps >> bit & 1]
    if missing and not caps >> 21 & 1:  # CAP_SYS_ADMIN holds the first two
        what = f"lacks {', '.join(missing)}: programs cannot be tried"
        yield Finding(FAIL, "permissions", what, "run doctor as root", NO_PERMISSION)
    else:
        yield Finding(OK, "permissions", "may load BPF programs")


def libbpf() -> Iterator[Finding]:
    """The libbpf in use."""
    from scx_gamer.libbpf._native import native, version_of

    try:
        path = native().path
    except LibbpfTooOld as error:
        yield Finding(FAIL, "libbpf", error.what, error.hint, UNSUPPORTED)
        return
    major, minor = version_of(path)
    yield Finding(OK, "libbpf", f"{major}.{minor} ({path})")


def hidden_arguments() -> Iterator[Finding]:
    """kfuncs that an old pahole described with an argument no program may pass."""
    with KernelBtf() as kernel_btf:
        hidden = [name for name in _AUX_KFUNCS if kernel_btf.has_hidden_argument(name)]
    if not hidden:
        yield Finding(OK, "kfuncs", "their prototypes in BTF are clean")
    for name in hidden:
        what = f"{name} has a hidden argument in this kernel's BTF: {_AUX_KFUNCS[name]}"
        to_do = "nothing is broken; a kernel built with pahole 1.31 or later has it plain"
        yield Finding(WARN, "kfuncs", what, to_do)


def hooks() -> Iterator[Finding]:
    """Each program of observe, loaded on its own: asking the kernel is not enough, trying is."""
    path = find_object("observe")
    with Object.open(path) as found:
        names = sorted(found.programs)
    for name in names:
        with Object.open(path) as trial:
            for other, program in trial.programs.items():
                program.set_autoload(other == name)
            yield _tried(trial, f"hook {name}", "that feature alone is missing")


def scheduler() -> Iterator[Finding]:
    """The scheduler itself, verified by the kernel but not attached."""
    with Object.open(find_object("sched")) as trial:
        yield _tried(trial, "scheduler", "scx-gamer cannot schedule on this kernel")


def _tried(trial: Object, name: str, cost: str) -> Finding:
    try:
        trial.load()
    except BpfError as error:
        last = error.log.strip().splitlines()[-1:]
        said = f"{error}{f' [{last[0].strip()}]' if last else ''}"
        if error.errno in (1, 13) and os.geteuid() != 0:
            return Finding(WARN, name, "not checked: no permission", "run doctor as root")
        code = UNSUPPORTED if name == "scheduler" else 0
        return Finding(FAIL if code else WARN, name, f"refused: {said}", cost, code)
    return Finding(OK, name, "loads")


def other_scheduler() -> Iterator[Finding]:
    """Whose scheduler is loaded."""
    name = kernelstate.loaded()
    if name and name != kernelstate.OURS:
        what = f"{printable(name, 64)} is loaded: only one scheduler can be"
        yield Finding(FAIL, "another scheduler", what, "stop it first", NO_PERMISSION)
    else:
        yield Finding(OK, "another scheduler", "none" if not name else "ours is loaded")


def cgroup() -> Iterator[Finding]:
    """cgroup v2, which the network limit needs."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        yield Finding(OK, "cgroup v2", "mounted on /sys/fs/cgroup")
    else:
        to_do = "boot with systemd.unified_cgroup_hierarchy=1"
        yield Finding(WARN, "cgroup v2", "not mounted: traffic cannot be limited", to_do)


def renicers(proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Daemons that change priorities behind our back."""
    running: set[str] = set()
    for entry in os.listdir(proc):
        if entry.isdecimal():
            try:
                comm = (proc / entry / "comm").read_bytes().rstrip(b"\n").decode("ascii", "replace")
            except OSError:  # it ended between the two reads
                continue
            if comm in _RENICERS:
                running.add(_RENICERS[comm])
    for name in sorted(running):
        to_do = f"stop {name} while you use scx-gamer, or tell it to leave games alone"
        yield Finding(WARN, "renicing daemons", f"{name} runs and changes nice values", to_do)
    if not running:
        yield Finding(OK, "renicing daemons", "none runs")


def bcc() -> Iterator[Finding]:
    """The distribution's bcc, for `trace` alone. Found, not imported: that costs a second."""
    found = importlib.util.find_spec("bcc")
    # PyPI's package of that name is a crystal-lattice library and has no BPF in it
    where = Path(found.origin).parent if found is not None and found.origin else None
    if where is not None and (where / "libbcc.py").exists():
        yield Finding(OK, "bcc", "present")
    else:
        to_do = "install python3-bpfcc, python-bcc or python3-bcc of the distribution for `trace`"
        yield Finding(INFO, "bcc", "not found: only `trace` needs it", to_do)


def configuration() -> Iterator[Finding]:
    """The files in /etc."""
    try:
        settings = load()
        settings.check_tunables(Abi(object_btf(find_object("observe"))).constants)
    except ConfigError as error:
        where_what = f"{error.where}: {error.what}"
        yield Finding(FAIL, "configuration", where_what, error.hint, BAD_CONFIG)
        return
    yield Finding(OK, "configuration", f"{len(settings.files)} file(s), mode {settings.mode}")

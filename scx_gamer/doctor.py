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

from scx_gamer import control, kernelstate
from scx_gamer.config import ConfigError, load, tunable_limits
from scx_gamer.libbpf import Abi, BpfError, KernelBtf, LibbpfTooOld, Object, find_object, object_btf
from scx_gamer.text import printable
from scx_gamer.trace.asking import packages

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
# first 15 characters, as /proc/PID/comm has them
_RENICERS = {
    "ananicy-cpp": "ananicy-cpp",
    "ananicy": "ananicy",
    "system76-schedu": "system76-scheduler",
    "gamemoded": "gamemode",
}


# States of a running supervisor that want somebody's attention.
_STATES = {
    "off": "it was switched off and stays so: scx-gamer start",
    "backoff": "it tries again by itself; if it goes on so: scx-gamer report",
    "fallback": "it gave up after repeated failures: scx-gamer report, then scx-gamer start",
    "conflict": "end the other scheduler, then scx-gamer start",
}
PROC = Path("/proc")


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
        scheduler_services,
        lockdown,
        real_time,
        set_aside,
        governor,
        statistics,
        input_devices,
        network_limit,
        renicers,
        bcc,
        detection,
        configuration,
        supervisor,
        profiles,
        file_watch,
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
            purpose, to_do = _HOOKS.get(name, ("one feature", "that feature alone is missing"))
            yield _tried(trial, f"hook {name}", f"{purpose}: ", to_do)


def scheduler() -> Iterator[Finding]:
    """The scheduler itself, verified by the kernel but not attached."""
    with Object.open(find_object("sched")) as trial:
        to_do = "this kernel's verifier does not take it: run scx-gamer report and send it to us"
        yield _tried(trial, "scheduler", "", to_do)


def _tried(trial: Object, name: str, purpose: str, to_do: str) -> Finding:
    try:
        trial.load()
    except BpfError as error:
        last = error.log.strip().splitlines()[-1:]
        said = f"{error}{f' [{last[0].strip()}]' if last else ''}"
        if error.errno in (1, 13) and os.geteuid() != 0:
            return Finding(WARN, name, "not checked: no permission", "run doctor as root")
        code = UNSUPPORTED if name == "scheduler" else 0
        what = f"{purpose}refused: {said}"
        return Finding(FAIL if code else WARN, name, what, to_do, code)
    return Finding(OK, name, f"{purpose}loads")


def other_scheduler() -> Iterator[Finding]:
    """Whose scheduler is loaded."""
    name = kernelstate.loaded()
    if name and name != kernelstate.OURS:
        what = f"{printable(name, 64)} is loaded: only one scheduler can be"
        to_do = "end it first: systemctl stop scx.service scx_loader.service, or end the program"
        yield Finding(FAIL, "another scheduler", what, to_do, NO_PERMISSION)
    else:
        yield Finding(OK, "another scheduler", "none" if not name else "ours is loaded")


def scheduler_services(proc: Path = PROC) -> Iterator[Finding]:
    """Programs that load a scheduler of their own whenever they are asked."""
    running = {c for c in commands(proc) if c.startswith("scx_") and c != kernelstate.OURS}
    for name in sorted(running):
        what = f"{printable(name)} runs and may load another scheduler"
        to_do = "turn it off while you use scx-gamer: systemctl disable --now scx_loader scx"
        yield Finding(WARN, "scheduler services", what, to_do)
    if not running:
        yield Finding(OK, "scheduler services", "none runs")


def lockdown(path: Path = Path("/sys/kernel/security/lockdown")) -> Iterator[Finding]:
    """A locked-down kernel lets no program read its memory, ours neither."""
    try:
        text = path.read_text()
    except OSError:
        return
    mode = (re.findall(r"\[(\w+)\]", text) or ["none"])[0]
    if mode == "confidentiality":
        to_do = "boot without lockdown=confidentiality; lockdown=integrity is fine"
        what = "lockdown is confidentiality: BPF programs may not read kernel memory"
        yield Finding(FAIL, "lockdown", what, to_do, UNSUPPORTED)
    else:
        yield Finding(OK, "lockdown", mode)


def real_time(proc: Path = PROC) -> Iterator[Finding]:
    """Real-time tasks come before every sched_ext task: the kernel's limit is what bounds them."""
    try:
        value = (proc / "sys/kernel/sched_rt_runtime_us").read_text().strip()
    except OSError:
        return
    if value == "-1":
        what = "real-time tasks may use all of each CPU: one that spins stops the game"
        yield Finding(WARN, "real-time limit", what, "sysctl kernel.sched_rt_runtime_us=950000")
    else:
        yield Finding(OK, "real-time limit", f"{value} us of each second's worth")


def set_aside(root: Path = Path("/sys/devices/system/cpu")) -> Iterator[Finding]:
    """CPUs taken from the scheduler at boot."""
    for name in ("isolated", "nohz_full"):
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        if text and text != "(null)":
            to_do = (
                f"drop {'isolcpus' if name == 'isolated' else name}= from the kernel's command line"
            )
            yield Finding(
                INFO, "CPUs set aside", f"{name}: {printable(text)}: no game runs there well", to_do
            )


def governor(root: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq")) -> Iterator[Finding]:
    """A governor that keeps the lowest frequency; drivers that only call themselves powersave are fine."""
    try:
        driver = (root / "scaling_driver").read_text().strip()
        name = (root / "scaling_governor").read_text().strip()
    except OSError:
        return
    if name == "powersave" and not driver.startswith(
        ("intel_pstate", "amd-pstate-epp", "amd_pstate")
    ):
        what = (
            f"{printable(driver)} with governor powersave keeps the CPUs at their lowest frequency"
        )
        yield Finding(
            WARN,
            "CPU frequency",
            what,
            "choose schedutil or performance: cpupower frequency-set -g schedutil",
        )
    else:
        yield Finding(OK, "CPU frequency", f"{printable(driver)}, {printable(name)}")


def statistics(proc: Path = PROC) -> Iterator[Finding]:
    """Run time statistics of BPF programs, which cost two clock reads in each callback."""
    try:
        value = (proc / "sys/kernel/bpf_stats_enabled").read_text().strip()
    except OSError:
        return
    if value == "1":
        what = "kernel.bpf_stats_enabled is 1: each callback of the scheduler costs a little more"
        yield Finding(
            INFO, "BPF statistics", what, "sysctl kernel.bpf_stats_enabled=0 when done measuring"
        )
    else:
        yield Finding(OK, "BPF statistics", "off")


def input_devices() -> Iterator[Finding]:
    """Whether there is a device that could open a boost window, and may be read."""
    from scx_gamer.input import scan_devices

    found = [device for device in scan_devices() if device.lane]
    closed = [device for device in found if not device.readable]
    if not found:
        to_do = "plug one in: see `scx-gamer devices`"
        yield Finding(INFO, "input devices", "no keyboard, mouse or gamepad", to_do)
    elif closed:
        what = f"{len(closed)} of {len(found)} devices cannot be read by this user"
        yield Finding(INFO, "input devices", what, "the supervisor runs as root and can")
    else:
        yield Finding(OK, "input devices", f"{len(found)} that open boost windows")


def network_limit() -> Iterator[Finding]:
    """cgroup2, the programs that limit traffic, and what an earlier life of theirs left."""
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
        yield _tried(
            trial, name, "", "traffic cannot be limited on this kernel: see docs/troubleshooting.md"
        )
    left = programs.leftovers(found.mount)
    if not left:
        yield Finding(OK, name, "no program of ours is on any cgroup")
        return
    where = ", ".join(sorted({printable(path, 64) for path, *_rest in left})[:4])
    if _supervised():
        yield Finding(OK, name, f"{len(left)} programs at work on {where}")
    else:
        what = f"{len(left)} programs of ours are on {where} though no supervisor runs"
        yield Finding(WARN, name, what, "the next start of scx-gamer takes them away")


def _supervised() -> bool:
    try:
        control.request("net_status", timeout_s=5.0)
    except control.ControlError:
        return False
    return True


def commands(proc: Path = PROC) -> set[str]:
    """Names of all processes, as /proc/PID/comm has them."""
    found: set[str] = set()
    for entry in os.listdir(proc):
        if entry.isdecimal():
            try:
                raw = (proc / entry / "comm").read_bytes()
            except OSError:  # it ended between the two reads
                continue
            found.add(raw.rstrip(b"\n").decode("ascii", "replace"))
    return found


def renicers(proc: Path = PROC) -> Iterator[Finding]:
    """Daemons that change priorities behind our back."""
    running = {_RENICERS[name] for name in commands(proc) if name in _RENICERS}
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
        to_do = f"install {packages()[0]} if you want to use `scx-gamer trace`"
        yield Finding(INFO, "bcc", "not found: only `trace` needs it", to_do)


def detection() -> Iterator[Finding]:
    """What the rules know, and what they fall back to should the hooks be refused."""
    from scx_gamer.games import desktop
    from scx_gamer.games.room import shipped_data
    from scx_gamer.games.sources import connector_problem

    data, broken = shipped_data()
    games, _programs = desktop.desktop_games(desktop.folders())
    entries = len(set(games.values()))
    if broken:
        yield Finding(WARN, "game detection", broken, "the drop-ins of detect.d are not used")
    else:
        names = len(data.wine_plumbing) + len(data.wrappers) + len(data.helpers) + len(data.tools)
        what = f"{names} programs known that are no game, {entries} desktop entries that are"
        yield Finding(OK, "game detection", what)
    why = connector_problem()
    if why:
        yield Finding(INFO, "proc connector", why, "without BPF hooks, processes would be polled")
    else:
        yield Finding(OK, "proc connector", "can stand in for the BPF hooks")


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


def supervisor() -> Iterator[Finding]:
    """Whether one runs, and whether it is content."""
    from scx_gamer import control

    try:
        status = control.request("status", timeout_s=5.0)
    except control.ControlError as error:
        if error.code != control.NOT_RUNNING:
            yield Finding(
                WARN, "supervisor", error.what, error.hint or "see its log: journalctl -u scx-gamer"
            )
            return
        yield Finding(
            INFO, "supervisor", "not running", "systemctl start scx-gamer, or scx-gamer run as root"
        )
        return
    state, cause = status.get("state"), printable(str(status.get("cause", "")), 200)
    to_do = _STATES.get(str(state))
    if to_do:
        yield Finding(WARN, "supervisor", f"{state}: {cause}", to_do)
    else:
        yield Finding(OK, "supervisor", f"{state}: {cause}")


def profiles() -> Iterator[Finding]:
    """The profiles, shipped and in /etc, and which one a running supervisor uses."""
    from scx_gamer import control
    from scx_gamer import profiles as room

    limits = tunable_limits(Abi(object_btf(find_object("observe"))).constants)
    found = room.load(limits, *room.folders())
    for error in (*found.errors, *room.check_set(found)):
        yield Finding(FAIL, "profiles", f"{error.where}: {error.what}", error.hint, BAD_CONFIG)
    if not found.profiles:
        yield Finding(WARN, "profiles", "none found", "reinstall scx-gamer")
        return
    try:
        answer = control.request("status", timeout_s=5)
    except control.ControlError:
        yield Finding(OK, "profiles", f"{len(found.profiles)} usable")
        return
    profile = answer.get("profile", {}) if isinstance(answer, dict) else {}
    active = printable(str(profile.get("active", "none")), 64)
    yield Finding(OK, "profiles", f"{len(found.profiles)} usable, {active} is active")
    for name, why in dict(profile.get("disabled", {})).items():
        to_do = "report it with `scx-gamer status`; `scx-gamer profiles set` tries it again"
        yield Finding(WARN, "profiles", f"{name} is disabled: {why}", to_do)


def file_watch() -> Iterator[Finding]:
    """inotify, by which changed files are noticed."""
    if importlib.util.find_spec("inotify_simple") is not None:
        yield Finding(OK, "file watch", "changed profiles are read again by themselves")
    else:
        to_do = "install python3-inotify-simple; until then send SIGHUP after a change"
        yield Finding(WARN, "file watch", "inotify_simple is missing", to_do)

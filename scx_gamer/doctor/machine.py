# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of the machine, its devices, and what other packages bring."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

from scx_gamer.doctor.model import INFO, OK, WARN, Finding
from scx_gamer.libbpf import BpfError, shipped_abi
from scx_gamer.scheduler.attached import kept_controls
from scx_gamer.system import inotify, procfs
from scx_gamer.system.files import read_text
from scx_gamer.system.text import printable
from scx_gamer.trace.asking import packages


def real_time(proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Check the kernel's limit on real-time tasks, which come before every sched_ext task."""
    value = read_text(proc / "sys/kernel/sched_rt_runtime_us")
    if value is None:
        return
    if value == "-1":
        what = "real-time tasks may use all of each CPU: one that spins stops the game"
        yield Finding(WARN, "real-time limit", what, "sysctl kernel.sched_rt_runtime_us=950000")
    else:
        yield Finding(OK, "real-time limit", f"{value} us of each second's worth")


def set_aside(root: Path = Path("/sys/devices/system/cpu")) -> Iterator[Finding]:
    """Report CPUs taken from the scheduler at boot."""
    for name in ("isolated", "nohz_full"):
        text = read_text(root / name)
        if text and text != "(null)":
            what = f"{name}: {printable(text)}: no game runs there well"
            option = "isolcpus" if name == "isolated" else name
            to_do = f"drop {option}= from the kernel's command line"
            yield Finding(INFO, "CPUs set aside", what, to_do)


_SLOW_CLOCKS = ("hpet", "acpi_pm")  # a read is a device access, far slower than the processor's own


def clocksource(
    root: Path = Path("/sys/devices/system/clocksource/clocksource0"),
) -> Iterator[Finding]:
    """Check the clock that every callback of the scheduler reads."""
    name = read_text(root / "current_clocksource")
    if name is None:
        return
    if name in _SLOW_CLOCKS:
        what = f"{name} is the clock: each decision of the scheduler waits for a device"
        to_do = "`dmesg | grep -i tsc` says why the TSC is not the clock; tsc=reliable at boot overrules it"
        yield Finding(WARN, "clock", what, to_do)
    else:
        yield Finding(OK, "clock", printable(name))


# Controls that the kernel leaves to a sched_ext scheduler, and their values while nothing is set.
_CPU_CONTROLS = {"cpu.max": "max", "cpu.weight": "100", "cpu.idle": "0"}
# Limits of the frequency, which schedutil keeps under every scheduler.
_FREQUENCY_CONTROLS = {"cpu.uclamp.min": "0.00", "cpu.uclamp.max": "max"}
_CGROUPS = 2000  # looked at
# What those that our scheduler keeps do, on the kernels that tell it of them.
_KEPT = {
    "cpu.max": "bounds all but the game",
    "cpu.weight": "counts while no game runs",
    "cpu.idle": "comes after all others, as SCHED_IDLE does",
}


def cpu_controls(
    mount: Path | None = None, kept: frozenset[str] | None = None
) -> Iterator[Finding]:
    """CPU controls of cgroups with processes: those that our scheduler keeps, and those without effect."""
    found = _set_controls(_CPU_CONTROLS, mount)
    if not found:
        yield Finding(OK, "CPU controls", "no cgroup has cpu.max, cpu.weight or cpu.idle set")
        return
    if kept is None:
        with suppress(BpfError):
            kept = kept_controls()
    kept = kept or frozenset()
    for control in sorted(kept):
        names = sorted(name for name, controls in found.items() if control in controls)
        if names:
            yield Finding(INFO, control, f"{_KEPT[control]}: {_some(names)}")
    ignored = {
        name: left
        for name, controls in found.items()
        if (left := [control for control in controls if control not in kept])
    }
    if ignored:
        what = f"no effect while scx-gamer schedules: {_some(_named(ignored))}"
        quota = any("cpu.max" in controls for controls in ignored.values())
        to_do = "docs/policy.md says what stands in for each: AllowedCPUs= limits, nice orders"
        yield Finding(WARN if quota else INFO, "CPU controls", what, to_do)


def frequency_controls(mount: Path | None = None) -> Iterator[Finding]:
    """Utilization clamps of cgroups with processes: the frequency alone follows them."""
    found = _set_controls(_FREQUENCY_CONTROLS, mount)
    if found:
        what = f"they bound the frequency and choose no CPU: {_some(_named(found))}"
        yield Finding(INFO, "utilization clamps", what, "AllowedCPUs= chooses CPUs")


def nice_values(pids: Iterable[int] | None = None) -> Iterator[Finding]:
    """Processes whose nice value has no effect while a game is active: neither 0 nor background."""
    background = shipped_abi()["BACKGROUND_NICE"]
    found: list[str] = []
    for pid in procfs.pids() if pids is None else pids:
        try:
            nice, policy = os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)
        except OSError:  # it ended
            continue
        # a real-time task keeps its nice value, and a kernel thread has no command line
        if nice and nice < background and policy == os.SCHED_OTHER and procfs.words_of(pid):
            found.append(f"{printable(procfs.comm_of(pid), 64)} ({nice})")
    if found:
        what = f"no effect while a game is active: {_some(sorted(found))}"
        to_do = f"nothing, or nice {background} and above for what may wait while you play"
        yield Finding(INFO, "nice values", what, to_do)


def _set_controls(controls: Mapping[str, str], mount: Path | None) -> dict[str, list[str]]:
    """Return cgroups with processes and the controls that are set there."""
    from scx_gamer.netlimit import cgroups

    mount = mount or cgroups.hierarchy().mount
    found: dict[str, list[str]] = {}
    if mount is None:
        return found
    for cgroup in islice(cgroups.descendants(mount), _CGROUPS):
        if "populated 1" not in (read_text(cgroup / "cgroup.events") or ""):
            continue
        for control, unset in controls.items():
            # none: the cgroup was removed meanwhile, or its controller is off
            value = (read_text(cgroup / control) or "").partition(" ")[0]
            if value not in ("", unset):
                found.setdefault(printable(cgroup.name, 64), []).append(control)
    return found


def _named(found: Mapping[str, list[str]]) -> list[str]:
    return [f"{name} ({', '.join(controls)})" for name, controls in sorted(found.items())]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


_SCALES_ITSELF = ("intel_pstate", "amd-pstate-epp", "amd_pstate")  # whatever its governor is called


def governor(root: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq")) -> Iterator[Finding]:
    """Report a governor that keeps the lowest frequency; drivers that only call themselves powersave are fine."""
    driver, name = read_text(root / "scaling_driver"), read_text(root / "scaling_governor")
    if driver is None or name is None:
        return
    driver, name = printable(driver), printable(name)
    if name == "powersave" and not driver.startswith(_SCALES_ITSELF):
        what = f"{driver} with governor powersave keeps the CPUs at their lowest frequency"
        to_do = "choose schedutil or performance: cpupower frequency-set -g schedutil"
        yield Finding(WARN, "CPU frequency", what, to_do)
    else:
        yield Finding(OK, "CPU frequency", f"{driver}, {name}")


def statistics(proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Report run time statistics of BPF programs, which cost two clock reads in each callback."""
    value = read_text(proc / "sys/kernel/bpf_stats_enabled")
    if value is None:
        return
    if value == "1":
        what = "kernel.bpf_stats_enabled is 1: each callback of the scheduler costs a little more"
        to_do = "sysctl kernel.bpf_stats_enabled=0 when done measuring"
        yield Finding(INFO, "BPF statistics", what, to_do)
    else:
        yield Finding(OK, "BPF statistics", "off")


def input_devices() -> Iterator[Finding]:
    """Report whether a device could open a boost window, and may be read."""
    from scx_gamer.input import scan_devices

    found = [device for device in scan_devices() if device.lanes.each()]
    closed = [device for device in found if not device.readable]
    if not found:
        to_do = "plug one in: see `scx-gamer devices`"
        yield Finding(INFO, "input devices", "no keyboard, mouse or gamepad", to_do)
    elif closed:
        what = f"{len(closed)} of {len(found)} devices cannot be read by this user"
        yield Finding(INFO, "input devices", what, "the supervisor runs as root and can")
    else:
        yield Finding(OK, "input devices", f"{len(found)} that open boost windows")


def bcc() -> Iterator[Finding]:
    """Look for the distribution's bcc, for `trace` alone, without importing it: that takes a second."""
    found = importlib.util.find_spec("bcc")
    # PyPI's package of that name is a crystal-lattice library and has no BPF in it
    where = Path(found.origin).parent if found is not None and found.origin else None
    if where is not None and (where / "libbcc.py").exists():
        yield Finding(OK, "bcc", "present")
    else:
        to_do = f"install {packages()[0]} if you want to use `scx-gamer trace`"
        yield Finding(INFO, "bcc", "not found: only `trace` needs it", to_do)


def file_watch() -> Iterator[Finding]:
    """Check inotify, by which changed files are noticed."""
    try:
        inotify.Inotify().close()
    except OSError as error:
        to_do = "raise fs.inotify.max_user_instances; until then send SIGHUP after a change"
        yield Finding(WARN, "file watch", f"inotify: {error.strerror}", to_do)
    else:
        yield Finding(OK, "file watch", "changed profiles are read again by themselves")

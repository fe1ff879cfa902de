# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of the machine, its devices, and what other packages bring."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from scx_gamer.doctor.model import INFO, OK, WARN, Finding
from scx_gamer.system import inotify
from scx_gamer.system.text import printable
from scx_gamer.trace.asking import packages


def real_time(proc: Path = Path("/proc")) -> Iterator[Finding]:
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


_SLOW_CLOCKS = ("hpet", "acpi_pm")  # a read is a device access, far slower than the processor's own


def clocksource(
    root: Path = Path("/sys/devices/system/clocksource/clocksource0"),
) -> Iterator[Finding]:
    """The clock that every callback of the scheduler reads."""
    try:
        name = (root / "current_clocksource").read_text().strip()
    except OSError:
        return
    if name in _SLOW_CLOCKS:
        what = f"{name} is the clock: each decision of the scheduler waits for a device"
        to_do = "`dmesg | grep -i tsc` says why the TSC is not the clock; tsc=reliable at boot overrules it"
        yield Finding(WARN, "clock", what, to_do)
    else:
        yield Finding(OK, "clock", printable(name))


# Controls that the kernel leaves to a sched_ext scheduler, and their values while nothing is set. Ours acts on none.
_CPU_CONTROLS = {"cpu.max": "max", "cpu.weight": "100", "cpu.idle": "0"}
_CGROUPS = 2000  # looked at


def cpu_controls(mount: Path | None = None) -> Iterator[Finding]:
    """CPU controls of cgroups with processes, which have no effect under our scheduler."""
    from scx_gamer.netlimit import cgroups

    mount = mount or cgroups.hierarchy().mount
    if mount is None:
        return
    found: dict[str, list[str]] = {}
    for cgroup in islice(cgroups.descendants(mount), _CGROUPS):
        if "populated 1" not in _short(cgroup / "cgroup.events"):
            continue
        for control, unset in _CPU_CONTROLS.items():
            value = _short(cgroup / control).partition(" ")[0].strip()
            if value not in ("", unset):
                found.setdefault(printable(cgroup.name, 64), []).append(control)
    if not found:
        yield Finding(OK, "CPU controls", "no cgroup has cpu.max, cpu.weight or cpu.idle set")
        return
    names = [f"{name} ({', '.join(controls)})" for name, controls in sorted(found.items())]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    what = f"no effect while scx-gamer schedules: {', '.join(names[:3])}{more}"
    quota = any("cpu.max" in controls for controls in found.values())
    to_do = "docs/policy.md says what stands in for each: AllowedCPUs= limits, nice orders"
    yield Finding(WARN if quota else INFO, "CPU controls", what, to_do)


def _short(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(256).decode("ascii", "replace")
    except OSError:  # removed meanwhile, or the controller is off
        return ""


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


def statistics(proc: Path = Path("/proc")) -> Iterator[Finding]:
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
    """The distribution's bcc, for `trace` alone. Found, not imported: that costs a second."""
    found = importlib.util.find_spec("bcc")
    # PyPI's package of that name is a crystal-lattice library and has no BPF in it
    where = Path(found.origin).parent if found is not None and found.origin else None
    if where is not None and (where / "libbcc.py").exists():
        yield Finding(OK, "bcc", "present")
    else:
        to_do = f"install {packages()[0]} if you want to use `scx-gamer trace`"
        yield Finding(INFO, "bcc", "not found: only `trace` needs it", to_do)


def file_watch() -> Iterator[Finding]:
    """inotify, by which changed files are noticed."""
    try:
        inotify.Inotify().close()
    except OSError as error:
        to_do = "raise fs.inotify.max_user_instances; until then send SIGHUP after a change"
        yield Finding(WARN, "file watch", f"inotify: {error.strerror}", to_do)
    else:
        yield Finding(OK, "file watch", "changed profiles are read again by themselves")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of the parts of scx-gamer that work on this machine, by trying them, without side effects.

Programs are loaded to see whether the kernel takes them and closed at once; nothing is attached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from scx_gamer.doctor import conflicts, kernel, machine, ours, programs
from scx_gamer.doctor.model import WARN, Finding, Report
from scx_gamer.libbpf import BpfError, LibbpfTooOld

__all__ = ["CHECKS", "Finding", "Report", "examine"]

# In the order in which they are read.
CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    kernel.kernel,
    kernel.config_options,
    kernel.btf,
    kernel.jit,
    kernel.permissions,
    kernel.libbpf,
    kernel.hidden_arguments,
    programs.hooks,
    programs.scheduler,
    conflicts.other_scheduler,
    conflicts.scheduler_services,
    kernel.lockdown,
    machine.real_time,
    machine.set_aside,
    machine.cpu_controls,
    machine.frequency_controls,
    machine.nice_values,
    machine.clocksource,
    machine.governor,
    machine.statistics,
    machine.input_devices,
    programs.network_limit,
    conflicts.renicers,
    machine.bcc,
    ours.detection,
    ours.configuration,
    ours.supervisor,
    ours.profiles,
    machine.file_watch,
)


def examine(checks: Iterable[Callable[[], Iterator[Finding]]] = CHECKS) -> Report:
    """Run all checks. A check that fails by itself is a finding too."""
    return Report(tuple(finding for check in checks for finding in _guarded(check)))


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    name = check.__name__.replace("_", " ")
    try:
        yield from check()
    except LibbpfTooOld as error:
        yield Finding(WARN, name, "not checked: libbpf cannot be used", error.hint)
    except (BpfError, OSError) as error:
        yield Finding(WARN, name, f"not checked: {error}")

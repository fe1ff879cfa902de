# SPDX-License-Identifier: GPL-2.0-only
"""One life of the scheduler: open, configure, load, attach, watch, close."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import ExitStack
from pathlib import Path

from scx_gamer.libbpf import BpfError, KernelBtf, Mapped, Object, StructView, find_object
from scx_gamer.libbpf.kernel import prog_info
from scx_gamer.observe.observer import SHARED, Observe
from scx_gamer.scheduler import counters, sysfs
from scx_gamer.scheduler.exits import KIND_ERROR, ExitRecord
from scx_gamer.scheduler.machine import AttachBusy, AttachFailed, AttachUnsupported
from scx_gamer.scheduler.topology import Topology

log = logging.getLogger(__name__)

OPS = "scx_gamer_ops"
OPS_FLAGS = ("SCX_OPS_ENQ_EXITING", "SCX_OPS_ENQ_MIGRATION_DISABLED")  # the second from 6.15 on
TEST_OBJECT = "SCX_GAMER_SCHED_OBJECT"  # path of a test build
TEST_RODATA = "SCX_GAMER_SCHED_RODATA"  # its switches: fault_error_ms=3000,…


def _test_build() -> tuple[Path | None, dict[str, int]]:
    """What a test asked for by environment. A daemon's environment is root's, so is the risk."""
    path = os.environ.get(TEST_OBJECT)
    values: dict[str, int] = {}
    for part in os.environ.get(TEST_RODATA, "").split(","):
        name, equals, value = part.partition("=")
        if path and equals:
            values[name] = int(value)
    return (Path(path) if path else None), values


def set_ops_flags(obj: Object) -> None:
    """Ask for every task the kernel would otherwise run on slices of its own making; only for what it knows.

    Raises BpfError. An unknown flag would make the kernel refuse the scheduler.
    """
    with KernelBtf() as kernel:
        known = kernel.enum("scx_ops_flags")
    flags = sum(known.get(name, 0) for name in OPS_FLAGS)
    obj.set_struct_ops(OPS, "sched_ext_ops", flags=flags)


def _rodata(
    topology: Topology, generation: int, known: frozenset[str]
) -> dict[str, int | list[int]]:
    """Constants by name; only what this object has is written."""
    values: dict[str, int | list[int]] = {
        "generation": generation,
        "nr_cpus": topology.nr_cpus,
        "nr_llcs": topology.nr_llcs,
        "cpu_llc": [cpu.llc for cpu in topology.cpus],
        "cpu_sibling": [topology.sibling(cpu.number) for cpu in topology.cpus],
        "cpu_capacity": [cpu.capacity for cpu in topology.cpus],
    }
    return {name: value for name, value in values.items() if name in known}


def program_costs(obj: Object) -> dict[str, list[int]]:
    """Nanoseconds and runs by program, of those that are loaded."""
    found: dict[str, list[int]] = {}
    for name, program in obj.programs.items():
        try:
            info = prog_info(program.fd)
        except BpfError:  # not loaded: an optional hook this kernel refused
            continue
        found[name] = [int(info["run_time_ns"]), int(info["run_cnt"])]
    return found


class SchedulerLife:
    """Attached from construction to close(). Raises one of the machine's Attach errors."""

    def __init__(self, observe: Observe, topology: Topology, generation: int) -> None:
        self.generation = generation
        with ExitStack() as stack:
            obj = self._loaded(observe, topology, generation, stack)
            self._object = obj
            try:
                exit_info = stack.enter_context(obj.maps["exit_info"].mapped("scxg_exit_info"))
                self._exit_info: StructView = exit_info[0]
                state = stack.enter_context(obj.maps["sched_state"].mapped("scxg_sched_state"))
                self._state: StructView = state[0]
                self._cpu_stats: Mapped = stack.enter_context(
                    obj.maps["cpu_stats"].mapped("scxg_cpu_stats")
                )
                self._fields = counters.fields_of(obj.btf, "scxg_cpu_stats")
            except BpfError as err:
                raise self._failed(err) from err
            try:
                link = obj.maps[OPS].attach_struct_ops()
            except BpfError as err:
                raise self._refused(err) from err
            # the last one in, so the first one out: tasks are back with the kernel before
            # anything else is released
            stack.callback(link.close)
            self._stack = stack.pop_all()

    @staticmethod
    def _loaded(observe: Observe, topology: Topology, generation: int, stack: ExitStack) -> Object:
        test_path, test_values = _test_build()
        try:
            obj = stack.enter_context(Object.open(test_path or find_object("sched")))
            known = frozenset(obj.btf.variables(".rodata"))
            obj.set_rodata(**_rodata(topology, generation, known), **test_values)
            set_ops_flags(obj)
            obj.maps["cpu_stats"].set_max_entries(topology.nr_cpus)
            for name in SHARED:
                if name in obj.maps:
                    obj.maps[name].reuse_fd(observe.maps[name].fd)
            obj.load()
        except BpfError as err:
            last = err.log.strip().splitlines()[-1:]
            tail = f" [{last[0].strip()}]" if last else ""
            raise AttachUnsupported(f"{err}{tail}") from err
        return obj

    def _refused(self, err: BpfError) -> Exception:
        if err.errno == errno.EBUSY:
            return AttachBusy(sysfs.loaded() or "(unnamed)")
        record = self.ended()
        if record is not None:
            return AttachFailed(record)
        if err.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES):
            return AttachUnsupported(str(err))
        return self._failed(err)

    def _failed(self, err: BpfError) -> AttachFailed:
        """Counted like an exit, and tried again."""
        return AttachFailed(ExitRecord(KIND_ERROR, 0, self.generation, "attach failed", str(err)))

    def ended(self) -> ExitRecord | None:
        """The record of ops.exit, None while it runs."""
        info = self._exit_info
        kind = info.get("kind")
        if kind == 0:
            return None
        return ExitRecord(
            kind=kind,
            code=info.get("code"),
            generation=self.generation,
            reason=info.text("reason"),
            message=info.text("msg"),
            dump=info.text("dump"),
        )

    @property
    def state(self) -> StructView:
        return self._state

    def counters(self) -> counters.Values:
        """The counters of all CPUs, summed."""
        return counters.over_cpus(self._cpu_stats, self._fields)

    def costs(self) -> dict[str, list[int]]:
        """Nanoseconds and runs of each program; they grow while kernel.bpf_stats_enabled is 1."""
        return program_costs(self._object)

    def close(self) -> None:
        """Detach and unload."""
        self._stack.close()

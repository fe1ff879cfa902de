# SPDX-License-Identifier: GPL-2.0-or-later
"""An attached scheduler: open, configure, load, attach, read, detach; and the counters of all generations."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from scx_gamer.libbpf import BpfError, KernelBtf, Mapped, Object, StructView, find_object
from scx_gamer.libbpf.kernel import prog_info
from scx_gamer.observe.observer import Observer
from scx_gamer.scheduler import counters, sysfs, topology
from scx_gamer.scheduler.errors import AttachBusy, AttachFailed, AttachUnsupported
from scx_gamer.scheduler.exits import (
    CODE_HOTPLUG,
    CODE_RESTART,
    KIND_ERROR,
    KIND_UNREG_KERN,
    ExitRecord,
)
from scx_gamer.scheduler.topology import Topology
from scx_gamer.system.paths import checkout_variable

OPS = "scx_gamer_ops"
OPS_FLAGS = ("SCX_OPS_ENQ_EXITING", "SCX_OPS_ENQ_MIGRATION_DISABLED")  # the second from 6.15 on
QUOTA_CALLBACK = "cgroup_set_bandwidth"  # from 6.17 on
WEIGHT_CALLBACK = "cgroup_set_weight"  # where the kernel has CONFIG_EXT_GROUP_SCHED
IDLE_CALLBACK = "cgroup_set_idle"  # from 6.19 on
QUOTA_KFUNCS = ("scx_bpf_kick_cpu", "scx_bpf_dsq_move_vtime", "scx_bpf_dsq_move_set_vtime")
CGROUP_CALLBACKS = (
    "cgroup_init", "cgroup_exit", "cgroup_move", WEIGHT_CALLBACK, QUOTA_CALLBACK, IDLE_CALLBACK,
)  # fmt: skip
LAST_OPS_FLAGS = ("SCX_OPS_ENQ_LAST",)
OLD_OPS_FLAGS = ("SCX_OPS_HAS_CGROUP_WEIGHT",)  # before 6.15; later kernels warn of it
LOADS = 3  # of one attach at most: after one during which a CPU came or went, there is another
TEST_OBJECT = "SCX_GAMER_SCHED_OBJECT"  # path of a test build
TEST_RODATA = "SCX_GAMER_SCHED_RODATA"  # its switches: fault_error_ms=3000,…


def _test_build() -> tuple[Path | None, dict[str, int]]:
    """Return the object and the .rodata values that a test names by environment, which only root can set."""
    path = checkout_variable(TEST_OBJECT)
    values: dict[str, int] = {}
    for part in checkout_variable(TEST_RODATA).split(","):
        name, equals, value = part.partition("=")
        if path and equals:
            values[name] = int(value)
    return (Path(path) if path else None), values


@cache
def _kernel_types() -> tuple[Mapping[str, int], Mapping[str, int], frozenset[str]]:
    """Return scx_ops_flags, scx_enq_flags and the members of sched_ext_ops of the running kernel.

    Read once, because its BTF has 130 000 types.
    """
    with KernelBtf() as kernel:
        return (
            kernel.enum("scx_ops_flags"),
            kernel.enum("scx_enq_flags"),
            kernel.members("sched_ext_ops"),
        )


def kept_controls() -> frozenset[str]:
    """Return the CPU controls of cgroups that the scheduler can keep on the running kernel; raises BpfError."""
    _, _, callbacks = _kernel_types()
    told = {"cpu.weight": WEIGHT_CALLBACK, "cpu.max": QUOTA_CALLBACK, "cpu.idle": IDLE_CALLBACK}
    kept = {control for control, callback in told.items() if callback in callbacks}
    with KernelBtf() as kernel:
        hidden = any(map(kernel.has_hidden_argument, QUOTA_KFUNCS))
    return frozenset(kept - ({"cpu.max"} if hidden else set()))


def fit_ops(obj: Object, *, last: bool = False) -> None:
    """Fit the ops to the running kernel; raises BpfError.

    The flags ask for the tasks that the kernel would otherwise give slices of its own; with `last` for the last task
    of a CPU too, because it may have to wait while the sibling runs the game, or to move to the game's home; and where
    there are quotas, for one of them. A flag that this kernel's BTF lacks is left out, because the kernel refuses a
    scheduler with an unknown flag. So are callbacks that it lacks, and one that a kernel with SCX_ENQ_IMMED does not
    need and warns of.
    """
    known, enq_flags, callbacks = _kernel_types()
    last |= QUOTA_CALLBACK in callbacks
    flags = OPS_FLAGS + (LAST_OPS_FLAGS if last else ())
    if WEIGHT_CALLBACK in callbacks and OPS_FLAGS[-1] not in known:
        flags += OLD_OPS_FLAGS
    members = {"flags": sum(known.get(name, 0) for name in flags)}
    dropped = set(CGROUP_CALLBACKS) - callbacks
    if "SCX_ENQ_IMMED" in enq_flags:
        dropped.add("cpu_release")
    for name in dropped:
        program = obj.programs.get(f"scxg_{name}")
        if program is not None:
            members[name] = 0
            program.set_autoload(False)
    obj.set_struct_ops(OPS, "sched_ext_ops", **members)


def _rodata(
    topology: Topology, generation: int, known: frozenset[str]
) -> dict[str, int | list[int]]:
    """Return the constants by name that this object has."""
    order = topology.order()
    values: dict[str, int | list[int]] = {
        "generation": generation,
        "nr_cpus": topology.nr_cpus,
        "nr_llcs": topology.nr_llcs,
        "cpu_llc": [cpu.llc for cpu in topology.cpus],
        "has_smt": int(topology.smt),
        "cpu_sibling": [topology.sibling(cpu.number) for cpu in topology.cpus],
        "nr_home": len(topology.home.cpus),
        "home_order": order,
        "home_place": [order.index(cpu.number) for cpu in topology.cpus],
    }
    return {name: value for name, value in values.items() if name in known}


def program_costs(obj: Object) -> dict[str, list[int]]:
    """Return nanoseconds and runs of each loaded program."""
    found: dict[str, list[int]] = {}
    for name, program in obj.programs.items():
        try:
            info = prog_info(program.fd)
        except BpfError:  # not loaded: an optional hook that this kernel refused
            continue
        found[name] = [int(info["run_time_ns"]), int(info["run_cnt"])]
    return found


class Unsettled(Exception):
    """A CPU came or went since the topology was read."""


def _cpus() -> tuple[int, tuple[int, ...]]:
    """Return how often a CPU came or went, and those that are there, because one that goes is counted before it has."""
    return sysfs.hotplugs(), topology.online()


class AttachedScheduler:
    """A scheduler that is attached from construction to close().

    The constructor raises AttachBusy, AttachUnsupported or AttachFailed; and Unsettled, before the attach, if _cpus()
    is not `cpus` any more by then. `on_close` is called before the release.
    """

    def __init__(
        self,
        observe: Observer,
        topology: Topology,
        generation: int,
        on_close: Callable[[AttachedScheduler], None] | None = None,
        cpus: tuple[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.generation = generation
        self._on_close = on_close
        with ExitStack() as stack:
            obj = self._loaded(observe, topology, generation, stack)
            self._object = obj
            self.home = topology.home
            self._game_ns = f"run_ns[{observe.abi['CLASS_GAME']}]"
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
            if cpus is not None and _cpus() != cpus:
                raise Unsettled
            try:
                link = obj.maps[OPS].attach_struct_ops()
            except BpfError as err:
                raise self._refused(err) from err
            # released first: the kernel has its tasks back before anything else is released
            stack.callback(link.close)
            self._stack = stack.pop_all()

    @staticmethod
    def _loaded(observe: Observer, topology: Topology, generation: int, stack: ExitStack) -> Object:
        test_path, test_values = _test_build()
        limits = observe.abi.constants
        topology = topology.with_llcs(limits["SCXG_MAX_LLCS"])
        if topology.nr_cpus > limits["SCXG_MAX_CPUS"]:
            raise AttachUnsupported(
                f"the highest CPU number is {topology.nr_cpus - 1}: "
                f"the scheduler has room for {limits['SCXG_MAX_CPUS']} CPUs"
            )
        try:
            obj = stack.enter_context(Object.open(test_path or find_object("sched")))
            known = frozenset(obj.btf.variables(".rodata"))
            obj.set_rodata(**_rodata(topology, generation, known), **test_values)
            fit_ops(obj, last=topology.smt or bool(topology.home.cpus))
            obj.maps["cpu_stats"].set_max_entries(topology.nr_cpus)
            obj.load(observe.maps)
        except BpfError as err:
            raise AttachUnsupported(err.with_reason()) from err
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
        """Return the error for a failure that is counted like an exit, and retried."""
        return AttachFailed(ExitRecord(KIND_ERROR, 0, self.generation, "attach failed", str(err)))

    def ended(self) -> ExitRecord | None:
        """Return the record of ops.exit, None while the scheduler runs."""
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
        """Return the counters, summed over CPUs; the game's time on its home and elsewhere besides."""
        values = counters.over_cpus(self._cpu_stats, self._fields)
        home = self.home.cpus
        ran = [cpu.get(self._game_ns) for cpu in self._cpu_stats]
        away = sum(ns for number, ns in enumerate(ran) if home and number not in home)
        return values | {"game_home_ns": [sum(ran) - away], "game_away_ns": [away]}

    def waits_max(self) -> list[int]:
        """Return the longest waits since the last clear_maxima(), by class."""
        return counters.over_cpus(self._cpu_stats, (counters.MAXIMUM,))[counters.MAXIMUM]

    def clear_maxima(self) -> None:
        """Begin anew with the maxima of the kernel's side."""
        counters.clear_maxima(self._cpu_stats)
        self._state.set("oldest_wait_recent_ns", 0)

    def costs(self) -> dict[str, list[int]]:
        """Return nanoseconds and runs of each program; both grow while kernel.bpf_stats_enabled is 1."""
        return program_costs(self._object)

    def close(self) -> None:
        """Detach and unload."""
        on_close, self._on_close = self._on_close, None
        try:
            if on_close is not None:
                on_close(self)
        finally:
            self._stack.close()


class Generations:
    """The attached scheduler, if there is one, and the counters of all generations.

    A generation's counters are in its maps while it is attached, then in the totals: never in both.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._totals: counters.Values = {}
        self._ended_waits: list[int] = []
        self._costs: counters.Values = {}  # nanoseconds and runs by program
        self.attached: AttachedScheduler | None = None

    def attach(self, generation: int) -> AttachedScheduler:
        """Attach a new generation on the CPUs of now. Raises as AttachedScheduler does, and TopologyError."""
        for _ in range(LOADS):
            cpus = _cpus()
            with suppress(Unsettled):
                self.attached = AttachedScheduler(
                    self._observe, topology.read(), generation, self._add_ended, cpus
                )
                if _cpus() == cpus:
                    return self.attached
                # the kernel ends a scheduler for CPUs that come or go after its attach, and not for those before
                self.attached.close()
                break
        code = CODE_RESTART | CODE_HOTPLUG
        raise AttachFailed(ExitRecord(KIND_UNREG_KERN, code, generation, "amid the attach"))

    def _add_ended(self, ended: AttachedScheduler) -> None:
        self._ended_waits = self.waits_max()
        self.attached = None
        counters.merge(self._totals, ended.counters())
        counters.merge(self._costs, ended.costs())

    def totals(self) -> counters.Values:
        """Return the counters of all generations."""
        totals: counters.Values = {}
        counters.merge(totals, self._totals)
        if self.attached is not None:
            counters.merge(totals, self.attached.counters())
        return totals

    def counters(self) -> tuple[counters.Values, counters.Values]:
        """Return the counters, and the costs by program, of all generations."""
        costs: counters.Values = {}
        counters.merge(costs, self._costs)
        if self.attached is not None:
            counters.merge(costs, self.attached.costs())
        return self.totals(), costs

    def waits_max(self) -> list[int]:
        """Return the longest waits of all generations since the last clear_maxima(), by class; empty without any."""
        found: counters.Values = {}
        for waits in (self._ended_waits, self.attached.waits_max() if self.attached else []):
            counters.largest(found, {counters.MAXIMUM: waits} if waits else {})
        return found.get(counters.MAXIMUM, [])

    def clear_maxima(self) -> None:
        """Begin anew with waits_max(); counters() keeps those since the start."""
        if waits := self.waits_max():
            counters.largest(self._totals, {counters.MAXIMUM: waits})
        self._ended_waits = []
        if self.attached is not None:
            self.attached.clear_maxima()

# SPDX-License-Identifier: GPL-2.0-only
"""The supervisor: everything that runs, on one stack and one loop, around the state machine."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_gamer import __version__, dumps, hud, kernelstate, login, stats, topology
from scx_gamer.config import load, tunable_limits
from scx_gamer.control import FAILED, NO_PERMISSION, USAGE, ControlError
from scx_gamer.control_server import ControlServer, Operation, PeerOperation, pid_of
from scx_gamer.exits import ExitRecord
from scx_gamer.games.data import DetectDataError
from scx_gamer.games.room import HINTS, GameError, GamesRoom
from scx_gamer.hints import Hints, uids
from scx_gamer.instance import Instance, InstanceError
from scx_gamer.libbpf import BpfError
from scx_gamer.loop import Loop
from scx_gamer.machine import Life, Machine, State
from scx_gamer.notify import Notifier
from scx_gamer.observe import Event, Observe
from scx_gamer.options import SupervisorOptions
from scx_gamer.paths import PathError, Paths, paths
from scx_gamer.profiles import ProfileError, folders
from scx_gamer.publish import Publisher
from scx_gamer.scheduler import SchedulerLife, program_costs
from scx_gamer.state import StateStore, boot_id
from scx_gamer.text import SafeFormatter, printable
from scx_gamer.tuning import Base, Tuning
from scx_gamer.watch import FolderWatch, WatchError, with_subfolders

if TYPE_CHECKING:
    from scx_gamer.config import Config
    from scx_gamer.dbus.service import BusService
    from scx_gamer.input.room import InputRoom
    from scx_gamer.netlimit import NetRoom

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_UNSUPPORTED = 69
EXIT_NO_PERMISSION = 77

SCHEMA = 1
SLEPT_S = 1.5  # a heartbeat later than this was not just a busy machine's


class Supervisor:
    """Owns all of it; run() returns the exit code."""

    def __init__(self, options: SupervisorOptions, where: Paths) -> None:
        self._options = options
        self._paths = where
        self._began_ns = time.monotonic_ns()
        self._boot = boot_id()
        self._exit_code = EXIT_OK
        self._observe: Observe | None = None
        self._games: GamesRoom | None = None
        self._tuning: Tuning | None = None
        self._hints: Hints | None = None
        self._exec_pending = False
        self._watch = "inotify"  # or why files are not watched
        self._input: InputRoom | None = None
        self._input_error = ""
        self._network: NetRoom | None = None
        self._network_operations: dict[str, Operation] = {}
        self._topology: topology.Topology | None = None
        self._machine: Machine | None = None
        self._totals: stats.Values = {}  # of ended generations
        self._costs: stats.Values = {}  # likewise: nanoseconds and runs by program
        self.counted = threading.Lock()  # a life is in its maps or in the totals, never in both
        self._heartbeat_s = 1.0
        self._last_tick = 0, 0  # boot time, and how much of it was spent suspended
        self._sleeps = 0
        self._bus: BusService | None = None
        self._told_games: dict[int, str] = {}
        self._told_exit: ExitRecord | None = None
        self._storms = 0
        self.loop = Loop()
        self.store = StateStore(where)
        self._notifier = Notifier()
        self._publisher = Publisher(where)

    # ---- life ------------------------------------------------------------------------------

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Raises PathError, InstanceError, BpfError before the start."""
        with ExitStack() as stack:
            stack.enter_context(self.loop)
            stack.callback(self._notifier.close)
            self._paths.create()
            stack.enter_context(Instance(self._paths.runtime))
            self._begin_state()
            reason = kernelstate.unsupported()
            if reason:
                return self._refuse(reason)
            stack.callback(self._end_state)
            self._open(stack)
            machine = self._machine
            assert machine is not None
            self._notifier.ready("starting")
            machine.start(self._wanted())
            if not self.loop.stopped:
                self._tick()
                self.loop.run()
            self._notifier.stopping()
        return self._exit_code

    def _begin_state(self) -> None:
        state = self.store.load()
        unclean = state.unclean_ends
        if state.running_boot and state.running_boot == self._boot:
            unclean += 1
            log.warning("the last supervisor of this boot ended uncleanly (%d so far)", unclean)
        self.store.save(running_boot=self._boot, unclean_ends=unclean)

    def _end_state(self) -> None:
        self.store.save(running_boot="")
        if self._exit_code == EXIT_OK:
            self._publisher.remove()

    def _refuse(self, reason: str) -> int:
        """A kernel that cannot: say so, leave it readable, and end."""
        log.error("%s: %s", State.UNSUPPORTED, reason)
        self.store.save(running_boot="")
        body = {"schema": SCHEMA, "version": __version__, "state": "unsupported", "cause": reason}
        self._publisher.write(body, hud.line(body))
        return EXIT_UNSUPPORTED

    def _open(self, stack: ExitStack) -> None:
        """Acquire in the order of need; the machine, which detaches, comes last but signals."""
        self._topology = topology.read()
        observe = Observe(self.loop, kernel_input=self._options.kernel_input)
        stack.callback(observe.close)
        self._observe = observe
        self._heartbeat_s = observe.abi.constants["SCXG_HEARTBEAT_PERIOD_MS"] / 1000
        observe.set_generation(self.store.state.generation)
        self._open_tuning(observe, stack)
        self._games = GamesRoom(
            self.loop,
            observe,
            self._games_changed,
            source=self._options.process_source,
            detection=self._options.detection,
        )
        stack.callback(self._games.close)
        if self._tuning is not None:
            self._games.use_profiles(self._tuning.profiles)
        self._games.start()
        observe.on("EXEC", lambda _event: self._game_exec())
        observe.on("SCHED_EXIT", self._on_sched_exit)
        observe.on("PREEMPT_STORM", self._on_storm)
        self._open_input(observe, stack)
        self._open_network(stack)
        self.loop.at_pass_end(observe.feed.flush)
        operations = self._operations()
        control = ControlServer(self.loop, self._paths.control_socket, operations)
        stack.callback(control.close)
        self._open_bus(operations, stack)
        self._hints = Hints(self._offer_hint, login.active, self._game_owners)
        hints = ControlServer(
            self.loop, self._paths.hints_socket, {"hint": PeerOperation(self._hints.take)}
        )
        stack.callback(hints.close)
        self._open_metrics(stack)
        self._machine = Machine(
            self._options, self, self.loop, self.store, self._boot, self._changed
        )
        stack.callback(self._machine.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal(number, self._on_end)
        self.loop.add_signal(signal.SIGHUP, lambda: self._reload("SIGHUP"))
        stack.callback(self._notifier.stopping)

    def _open_input(self, observe: Observe, stack: ExitStack) -> None:
        """Input is worth a scheduler without boosts: its failure is told, not fatal."""
        if not self._options.input:
            self._input_error = "switched off"
            return
        try:
            from scx_gamer.input.room import InputError, InputRoom
        except ImportError as err:
            self._input_error = f"{err}; install python-evdev and pyudev"
            log.error("input is off: %s", self._input_error)
            return
        kernel_path = "on_input" in observe.hooks
        room = InputRoom(
            self.loop, observe.feed, observe.maps, observe.abi, kernel_path=kernel_path
        )
        stack.callback(room.close)
        try:
            room.start()
        except InputError as err:
            self._input_error = str(err)
            log.error("input is off: %s", err)
            return
        observe.on("WINDOW", lambda event: room.on_window(int(event["lane"])))
        self._input = room

    def _open_bus(self, operations: Mapping[str, Operation], stack: ExitStack) -> None:
        """Without the service everything else works: what it lacks is told, not fatal."""
        if not self._options.bus:
            return
        try:
            from scx_gamer.dbus import BusError
            from scx_gamer.dbus.service import BusService, properties_of

            def properties() -> dict[str, Any]:
                return properties_of(self.status(), self._tuning.name if self._tuning else "")

            bus = BusService(self.loop, operations, properties, self._held)
        except (ImportError, BusError) as err:
            log.error("no service on the bus: %s", err)
            return
        stack.callback(bus.close)
        self._bus = bus

    def _held(self, profile: str, reason: str) -> None:
        if self._tuning is not None:
            self._tuning.hold(profile, printable(reason, 80))

    def _tell_bus(self) -> None:
        """Properties and signals: what differs from what was told last."""
        bus, machine = self._bus, self._machine
        if bus is None or machine is None:
            return
        bus.changed()
        now = {int(str(game["pid"])): str(game["comm"]) for game in self.games()}
        before, self._told_games = self._told_games, now
        for pid in before.keys() - now.keys():
            bus.game_stopped(pid, before[pid])
        for pid in now.keys() - before.keys():
            bus.game_started(pid, now[pid])
        if machine.last_exit is not self._told_exit:
            self._told_exit = machine.last_exit
            if self._told_exit is not None:
                again = machine.state is State.BACKOFF
                bus.scheduler_exited(self._told_exit.name, self._told_exit.reason, again)

    def _open_network(self, stack: ExitStack) -> None:
        """Limits of background traffic: theirs is no fault that stops us."""
        from scx_gamer.netlimit import NetRoom, operations

        self._network = NetRoom(self.loop, self._game_pids)
        stack.callback(self._network.close)
        self._network_operations = operations(self._network)
        self._limit_network()

    def _limit_network(self) -> None:
        """As the settings have it, while a game runs."""
        settings = self._tuning.network() if self._tuning is not None else None
        if self._network is not None and settings is not None:
            self._network.apply(settings, bool(self.games()))

    def _game_pids(self) -> set[int]:
        return self._games.pids() if self._games is not None else set()

    def _open_metrics(self, stack: ExitStack) -> None:
        if not self._options.metrics_address:
            return
        from scx_gamer import metrics

        host, _, port = self._options.metrics_address.rpartition(":")
        stack.enter_context(metrics.exporter(self, host, int(port)))

    def _open_tuning(self, observe: Observe, stack: ExitStack) -> None:
        """Profiles, their values in the kernel, and the watch over their files."""
        constants = observe.abi.constants
        tuning = Tuning(
            observe.feed, constants, tunable_limits(constants), self._base,
            self._profile_changed, self._profile_folders(),
        )  # fmt: skip
        tuning.start(self.store.state.profile)
        observe.feed.flush()
        self._tuning = tuning
        try:
            watch = FolderWatch(self.loop, self._watched, lambda: self._reload("files changed"))
        except WatchError as err:
            self._watch = str(err)
            log.warning("changes of profiles are not seen by themselves: %s", err)
            return
        stack.callback(watch.close)

    def _base(self) -> Base:
        """What holds without a profile; read again where there are files. Raises ConfigError."""
        options = self._options
        if self._tuning is None or not options.config_dir:
            return Base(options.mode, options.tunables, options.network)
        assert self._observe is not None
        config = load(Path(options.config_dir))
        config.check_tunables(self._observe.abi.constants)
        mode = options.mode if options.mode_fixed else config.mode
        return Base(mode, config.tunables, config.network)

    def _watched(self) -> list[Path]:
        vendor, admin = self._profile_folders()
        return with_subfolders([vendor, admin, admin.parent, admin.parent / "conf.d"])

    def _profile_folders(self) -> tuple[Path, Path]:
        return folders(Path(self._options.config_dir) if self._options.config_dir else None)

    def _profile_changed(self, why: str) -> None:
        if self._machine is not None:
            self._machine.want(self._wanted(), why)
            self._limit_network()
            self._publish()

    def _on_end(self) -> None:
        log.info("asked to end")
        self.loop.stop()

    # ---- what the machine asks for ---------------------------------------------------------------

    def unsupported(self) -> str | None:
        return kernelstate.unsupported()

    def attach(self, generation: int) -> Life:
        """A new object and a new generation, with everything the kernel was told before."""
        assert self._observe is not None and self._games is not None
        self._topology = topology.read()  # CPUs may have come or gone
        self._observe.set_generation(generation)
        self._games.tell_all()
        if self._tuning is not None:
            self._tuning.send_all()
        self._observe.feed.send("HEARTBEAT")
        self._observe.feed.flush()
        return _CountedLife(self, SchedulerLife(self._observe, self._topology, generation))

    def keep_dump(self, record: ExitRecord) -> None:
        if self._tuning is not None:
            self._tuning.failed()
        where = dumps.save(self._paths.exits, record, {"status": self.status()})
        if where is not None:
            log.info("dump of generation %d kept as %s", record.generation, where)

    def life_ended(self, life: SchedulerLife) -> None:
        """Its counters live on in the totals."""
        stats.merge(self._totals, life.counters())
        stats.merge(self._costs, life.costs())

    # ---- events ----------------------------------------------------------------------------

    def _game_exec(self) -> None:
        """A process of a game runs another program: perhaps the one a profile names. Told once for many."""
        if not self._exec_pending:
            self._exec_pending = True
            self.loop.call_later(0.05, self._execs_settled, name="execs of games")

    def _execs_settled(self) -> None:
        self._exec_pending = False
        self._tell_tuning()

    def _on_storm(self, event: Event) -> None:
        self._storms += 1
        if self._storms.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …
            log.warning("CPU %d is preempted all the time (%d)", event["value"], self._storms)

    def _on_sched_exit(self, _event: Event) -> None:
        if self._machine is not None:
            self._machine.check()

    def _tick(self) -> None:
        """The heartbeat, and a look at the exit record should its event have been lost."""
        machine, observe = self._machine, self._observe
        if machine is None or observe is None:
            return
        if machine.life is not None:
            observe.feed.send("HEARTBEAT")
            machine.check()
        self._watch_sleep()
        delay = self._heartbeat_s
        if self._notifier.watchdog_s is not None:
            self._notifier.watchdog()
            delay = min(delay, self._notifier.watchdog_s / 2)
        self.loop.call_later(delay, self._tick, name="heartbeat")

    def _watch_sleep(self) -> None:
        """After a suspend, or a stop of this process, ask the devices: releases went unseen."""
        before_ns, asleep_ns = self._last_tick
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._last_tick = now_ns, now_ns - self.loop.now_ns()
        late = now_ns - before_ns > 1e9 * (self._heartbeat_s + SLEPT_S)
        if before_ns and (late or self._last_tick[1] - asleep_ns > 1e9 * SLEPT_S):
            log.info("no heartbeat for %.1f s: devices are asked again", (now_ns - before_ns) / 1e9)
            self._sleeps += 1
            if self._input is not None:
                self._input.resync()

    def _games_changed(self) -> None:
        if self._machine is not None:
            playing = self._games is not None and self._games.wanted
            self._tell_tuning()
            self._machine.want(self._wanted(), "a game runs" if playing else "no game any more")
            self._limit_network()
            self._publish()

    def _wanted(self) -> bool:
        mode = self._tuning.mode if self._tuning else self._options.mode
        return mode == "always" or bool(self._games and self._games.wanted)

    def _changed(self) -> None:
        machine = self._machine
        if machine is None:
            return
        if machine.state is State.UNSUPPORTED:
            self._exit_code = EXIT_UNSUPPORTED
            self.loop.stop()
        self._publish()

    def _publish(self) -> None:
        machine = self._machine
        if machine is not None:
            status = self.status()
            self._publisher.write(status, hud.line(status))
            self._notifier.status(f"{machine.state}: {machine.cause}")
            self._tell_bus()

    # ---- what is asked of us ---------------------------------------------------------------

    def _operations(self) -> dict[str, Operation]:
        return {
            "status": Operation(lambda _request: self.status(), root_only=False),
            "devices": Operation(lambda _request: self.devices(), root_only=False),
            "games": Operation(lambda _request: self.games(), root_only=False),
            "explain": Operation(self._op_explain, root_only=False),
            "profiles": Operation(lambda _request: self._profile_rows(), root_only=False),
            "hint": Operation(self._op_hint, root_only=True),
            "snapshot": Operation(lambda _request: self.snapshot(), root_only=False),
            "metrics": Operation(lambda _request: self.snapshot(), root_only=False),
            "start": Operation(lambda _request: self.request_start(), root_only=True),
            "stop": Operation(lambda _request: self.request_stop(), root_only=True),
            "restart": Operation(lambda _request: self.request_restart(), root_only=True),
            "game_add": Operation(self._op_game_add, root_only=True),
            "game_remove": Operation(self._op_game_remove, root_only=True),
            "profile_set": Operation(self._op_profile_set, root_only=True),
            "reload": Operation(lambda _request: self.reload("asked to"), root_only=True),
            **self._network_operations,
        }

    def _op_game_add(self, request: Mapping[str, Any]) -> dict[str, object]:
        try:
            self.add_game(pid_of(request), "named by the user")
        except GameError as err:
            raise ControlError(str(err), FAILED, err.errno) from err
        return self.status()

    def _op_hint(self, request: Mapping[str, Any]) -> dict[str, object]:
        """What a user session says; `pid` 0 with `focus`: nobody knows any more."""
        source, kind, pid = (request.get(name) for name in ("source", "kind", "pid"))
        if self._games is None or not isinstance(source, str) or not isinstance(kind, str):
            raise ControlError("give source and kind as text", USAGE)
        if kind not in HINTS or type(pid) is not int or not 0 <= pid < 1 << 31:
            raise ControlError(f"give a pid, and as kind one of {', '.join(HINTS)}", USAGE)
        return {"used": self._games.hint(printable(source, 40), pid, kind)}

    def _op_explain(self, request: Mapping[str, Any]) -> dict[str, object]:
        if self._games is None:
            raise ControlError("the supervisor is still starting", FAILED)
        return self._games.explain(pid_of(request))

    def _op_game_remove(self, request: Mapping[str, Any]) -> dict[str, object]:
        pid = pid_of(request)
        if not self.remove_game(pid):
            raise ControlError(f"{pid} is no game: see `scx-gamer games list`", FAILED)
        return self.status()

    def _required(self) -> Machine:
        if self._machine is None:
            raise ControlError("the supervisor is still starting", FAILED)
        return self._machine

    def request_start(self) -> dict[str, object]:
        machine = self._required()
        machine.user_start()
        if machine.state is State.CONFLICT:
            raise ControlError(machine.cause, NO_PERMISSION)
        return self.status()

    def request_stop(self) -> dict[str, object]:
        self._required().user_stop()
        return self.status()

    def request_restart(self) -> dict[str, object]:
        machine = self._required()
        if machine.state is State.OFF:
            raise ControlError("it is switched off: use `scx-gamer start`", FAILED)
        machine.user_restart()
        return self.status()

    def add_game(self, pid: int, reason: str) -> None:
        """Raises GameError."""
        if self._games is None:
            raise GameError("the supervisor is still starting")
        self._games.add(pid, reason)

    def remove_game(self, pid: int) -> bool:
        return self._games is not None and self._games.remove(pid)

    def _op_profile_set(self, request: Mapping[str, Any]) -> dict[str, object]:
        name, sticky = request.get("name"), request.get("sticky", True)
        if not isinstance(name, str) or not isinstance(sticky, bool):
            raise ControlError("give the profile's name as text: name", USAGE)
        return self.set_profile(name, sticky=sticky)

    def set_profile(self, name: str, *, sticky: bool) -> dict[str, object]:
        """Use a profile from here on; `sticky`: after the next start too. Raises ControlError."""
        if self._tuning is None:
            raise ControlError("the supervisor is still starting", FAILED)
        try:
            self._tuning.choose(name)
        except ProfileError as err:
            raise ControlError(str(err), USAGE) from err
        if sticky:
            self.store.save(profile=name)
        self._publish()
        return self._profile_status()

    def _profile_rows(self) -> list[dict[str, object]]:
        found = self._tuning.profiles.profiles if self._tuning is not None else {}
        return [
            {"name": name, "description": one.title, "source": "vendor" if one.vendor else "admin"}
            for name, one in sorted(found.items())
        ]

    def reload(self, cause: str) -> dict[str, object]:
        """Configuration and profiles again; what is wrong stays as it was and is in the errors."""
        if self._tuning is not None:
            self._tuning.reload(cause)
            if self._games is not None:
                self._games.use_profiles(self._tuning.profiles)
            self._limit_network()
            self._publish()
        return self._profile_status()

    def _reload(self, cause: str) -> None:
        self.reload(cause)

    def _tell_tuning(self) -> None:
        """The processes of the games, the newest game first: focus has no say in the profile."""
        if self._tuning is not None and self._games is not None:
            self._tuning.play(self._games.facts())

    def _profile_status(self) -> dict[str, object]:
        if self._tuning is None or self._observe is None:
            return {}
        values = self._observe.tunables.array("value")  # what the kernel has, not what was sent
        names = self._observe.abi.names("tun")
        body = self._tuning.status()
        body["tunables"] = {n: values[i] for i, n in names.items() if i < len(values)}
        body["watch"] = self._watch
        return body

    def _offer_hint(self, source: str, pid: int, kind: str) -> bool:
        """What the user sits at changes boosts; it never attaches, detaches or changes the profile."""
        return self._games is not None and self._games.hint(source, pid, kind)

    def _game_owners(self) -> set[int]:
        return {uid for game in self.games() for uid in uids(int(str(game["pid"])))}

    def devices(self) -> list[dict[str, object]]:
        """What the input room watches, and at which rate; empty while input is off."""
        if self._input is None:
            return []
        return [
            {"number": info.number, "path": info.path, "rate_hz": info.rate_hz}
            for info in self._input.devices()
        ]

    def games(self) -> list[dict[str, object]]:
        return self._games.listing() if self._games is not None else []

    def status(self) -> dict[str, object]:
        """The stable schema of `status --json`; a field may be added, none changes its meaning."""
        machine, observe = self._machine, self._observe
        now = time.monotonic_ns()
        body: dict[str, object] = {
            "schema": SCHEMA,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round((now - self._began_ns) / 1e9, 3),
            "mode": self._tuning.mode if self._tuning else self._options.mode,
            "generation": self.store.state.generation,
            "kernel": {
                "release": platform.release(),
                "sched_ext": kernelstate.state(),
                "loaded": kernelstate.loaded(),
            },
            "unclean_ends": self.store.state.unclean_ends,
            "state_write_errors": self.store.write_errors,
            "sleeps": self._sleeps,
            "games": self.games(),
        }
        if machine is not None:
            retry, last = machine.retry_in_s(), machine.last_exit
            body |= {
                "state": str(machine.state),
                "cause": machine.cause,
                "since_s": round((now - machine.since_ns) / 1e9, 3),
                "retry_in_s": None if retry is None else round(retry, 1),
                "failures": machine.recent_failures(),
                "last_exit": None
                if last is None
                else {
                    "kind": last.kind,
                    "name": last.name,
                    "code": last.code,
                    "generation": last.generation,
                    "reason": last.reason,
                    "message": last.message,
                },
                "scheduler": self._scheduler_status(machine.life),
            }
        if observe is not None:
            body["hooks"] = dict.fromkeys(sorted(observe.hooks), "ok") | observe.unavailable
            body["feed"] = observe.feed.counters()
            body["profile"] = self._profile_status()
        if self._bus is not None:
            body["bus"] = self._bus.counters()
        if self._hints is not None:
            body["session_hints"] = dict(self._hints.results)
        body["input"] = self._input_status()
        if self._games is not None:
            body["detection"] = self._games.status()
        if self._network is not None:
            body["network"] = self._network.status()
        loop = self.loop.stats()
        body["loop"] = {
            "passes": loop.passes,
            "lag_last_ms": loop.lag_last_ns / 1e6,
            "lag_max_ms": loop.lag_max_ns / 1e6,
            "pass_max_ms": loop.pass_max_ns / 1e6,
        }
        return body

    def _input_status(self) -> dict[str, object]:
        if self._input is None:
            return {"path": "none", "devices": 0, "why": self._input_error}
        return {
            "path": self._input.path,
            "devices": len(self._input.devices()),
            "lanes": self._input.lanes(),
            "held": len(self._input.held()),
            "why": "",
        }

    def _scheduler_status(self, life: Life | None) -> dict[str, object] | None:
        if not isinstance(life, _CountedLife) or self._observe is None:
            return None
        view = life.inner.state
        names = self._observe.abi.names("class")
        tasks = view.array("tasks")
        fields = ("ticks", "timer_failed", "effects", "effects_off", "nr_queued")
        more = ("oldest_wait_ns", "oldest_wait_max_ns")
        return {
            "generation": life.generation,
            **{name: view.get(name) for name in (*fields, *more)},
            "tasks": {names.get(i, str(i)): count for i, count in enumerate(tasks)},
        }

    def snapshot(self) -> dict[str, object]:
        """Everything the metrics show; called from the exporter's thread, reads only."""
        from scx_gamer import metrics

        body = self.status()
        machine, observe = self._machine, self._observe
        if machine is not None:
            counters = machine.counters()
            body["counters"] = {
                "attaches": counters.attaches,
                "exits": counters.exits,
                "restarts": counters.restarts,
            }
            totals: stats.Values = {}
            costs: stats.Values = {}
            with self.counted:
                stats.merge(totals, self._totals)
                stats.merge(costs, self._costs)
                life = machine.life
                if isinstance(life, _CountedLife) and life.counting:
                    stats.merge(totals, life.inner.counters())
                    stats.merge(costs, life.inner.costs())
            if observe is not None:
                stats.merge(costs, program_costs(observe.object))
            body["cpu_stats"] = totals
            body["programs"] = costs
        if observe is not None:
            control = stats.fields_of(observe.object.btf, "scxg_control")
            body["control"] = stats.read(observe.control, control)
            lane = stats.fields_of(observe.object.btf, "scxg_lane_state")
            body["windows"] = {
                name: {field: list(observe.windows.array(f"lane[{i}].{field}")) for field in lane}
                for i, name in observe.abi.names("lane").items()
                if i != 0
            }
            body["events"] = {
                "by_type": dict(observe.events),
                "stale": observe.events_stale,
                "unknown": observe.events_unknown,
                "handler_failures": observe.ring.failures,
            }
        if self._input is not None:
            body["input_counters"] = dict(self._input.counters)
        if self._network is not None:
            body["network_counters"] = self._network.counters()
        body["process"] = metrics.process()
        body["kernel_events"] = kernelstate.events()
        body["enable_seq"] = kernelstate.counter("enable_seq")
        body["nr_rejected"] = kernelstate.counter("nr_rejected")
        return body


class _CountedLife:
    """A life whose counters are added to the totals when it is closed."""

    def __init__(self, owner: Supervisor, inner: SchedulerLife) -> None:
        self._owner = owner
        self.inner = inner
        self.generation = inner.generation
        self._open = True
        self.counting = True

    def ended(self) -> ExitRecord | None:
        return self.inner.ended()

    def close(self) -> None:
        if self._open:
            self._open = False
            with self._owner.counted:
                self.counting = False
                try:
                    self._owner.life_ended(self.inner)
                finally:
                    self.inner.close()


def options_of(config: Config) -> SupervisorOptions:
    """The part of the configuration that is ours."""
    metrics = config.metrics
    host = f"[{metrics.address}]" if ":" in metrics.address else metrics.address
    return SupervisorOptions(
        mode=config.mode,
        kernel_input=config.input.kernel_path,
        metrics_address=f"{host}:{metrics.port}" if metrics.enabled else "",
        bus=config.dbus.enabled and not os.environ.get("SCX_GAMER_RUNTIME_DIR"),
        tunables=dict(config.tunables),
        config_dir=str(config.directory),
        mode_fixed=config.mode_fixed,
        network=config.network,
    )


def main(config: Config | SupervisorOptions) -> int:
    """Run in the foreground; the exit code. Errors are one line on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    options = config if isinstance(config, SupervisorOptions) else options_of(config)
    try:
        return Supervisor(options, paths()).run()
    except InstanceError as err:
        return _say(err, EXIT_NO_PERMISSION)
    except PathError as err:
        return _say(err, EXIT_NO_PERMISSION if err.errno in (1, 13) else EXIT_FAILED)
    except BpfError as err:
        denied = err.errno in (1, 13) and os.geteuid() != 0
        return _say(err, EXIT_NO_PERMISSION if denied else EXIT_UNSUPPORTED)
    except (ControlError, topology.TopologyError, DetectDataError) as err:
        return _say(err, EXIT_FAILED)


def _say(err: Exception, code: int) -> int:
    print(f"scx-gamer: {err}", file=sys.stderr)
    return code

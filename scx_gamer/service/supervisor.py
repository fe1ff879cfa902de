# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor: everything that runs, on one stack and one loop, around the state machine."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scx_gamer import netlimit
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.config.settings import load, tunable_limits
from scx_gamer.config.watch import FolderWatch, WatchError, with_subfolders
from scx_gamer.control.server import ControlServer
from scx_gamer.games.detector import GameDetector
from scx_gamer.libbpf import BpfError
from scx_gamer.observe.observer import Event, Observer
from scx_gamer.profiles import folders
from scx_gamer.scheduler import exit_dumps, sysfs, topology
from scx_gamer.scheduler.attached import Generations
from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.scheduler.machine import INACTIVE, Attached, Machine, State
from scx_gamer.scheduler.store import StateStore
from scx_gamer.service import hud
from scx_gamer.service.active_profile import ActiveProfile
from scx_gamer.service.change_queue import ChangeQueue
from scx_gamer.service.comparison import Comparison
from scx_gamer.service.game_frames import GameFrames
from scx_gamer.service.heartbeat import Heartbeat
from scx_gamer.service.operations import Operations
from scx_gamer.service.services import Services
from scx_gamer.service.session_hints import Hints
from scx_gamer.service.sessions import Sessions
from scx_gamer.service.status import Status, unsupported
from scx_gamer.service.status_files import Publisher
from scx_gamer.service.visibility import Visibility
from scx_gamer.system import logind
from scx_gamer.system.exit_codes import NO_PERMISSION, OK, UNSUPPORTED
from scx_gamer.system.lock import Instance
from scx_gamer.system.loop import Loop
from scx_gamer.system.paths import Paths, paths
from scx_gamer.system.procfs import boot_id, uids_of
from scx_gamer.system.safe_log import SafeFormatter
from scx_gamer.system.sd_notify import Notifier

if TYPE_CHECKING:
    from scx_gamer.input.monitor import InputMonitor
    from scx_gamer.service.bus_signals import BusSignals

log = logging.getLogger(__name__)

EXECS_SETTLE_S = 0.05  # a launcher starts several programs in a row


class Supervisor:
    """Owner of all subsystems; run() returns the exit code.

    It is the state machine's way to the kernel, and acts on the changes that the queue collected.
    """

    services: Services  # this and the status from the start of run() on
    _status: Status

    def __init__(self, options: SupervisorOptions, where: Paths) -> None:
        self._options = options
        self._paths = where
        self._boot = boot_id()
        self._began_ns = time.monotonic_ns()
        self._exit_code = OK
        self._exec_pending = False
        self._boosts_enabled: int | None = None  # as published
        self._storms = 0
        self._notifier = Notifier()
        self._publisher = Publisher(where)
        self._changes = ChangeQueue(self)
        self._visibility = Visibility(options.games_visible_to, logind.active)
        self.loop = Loop()
        self.store = StateStore(where)

    # ---- start and end -----------------------------------------------------------------------

    def run(self) -> int:
        """Run until SIGTERM or SIGINT. Raises PathError, InstanceError, BpfError before the start."""
        with ExitStack() as stack:
            stack.enter_context(self.loop)
            stack.callback(self._notifier.close)
            self._paths.create()
            stack.enter_context(Instance(self._paths.runtime))
            self._begin_state()
            reason = sysfs.unsupported()
            if reason:
                return self._refuse(reason)
            stack.callback(self._end_state)
            self.services = self._open(stack)
            # Until READY nothing has read what a user owns, so that no user keeps the service from starting.
            self._notifier.ready("starting")
            self.services.games.start()
            self._notifier.watchdog()  # its time runs since READY; the attach takes seconds on a slow machine
            gc.collect()
            gc.freeze()  # GC passes skip the objects of now; input waits for a pass
            self._start()
            if not self.loop.stopped:
                self.services.heartbeat.beat()
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
        if self._exit_code == OK:
            self._publisher.remove()

    def _refuse(self, reason: str) -> int:
        """Log and publish why this kernel cannot run the scheduler; return the exit code."""
        log.error("%s: %s", State.UNSUPPORTED, reason)
        self.store.save(running_boot="")
        body = unsupported(reason)
        self._publisher.write(body, hud.line(body))
        return UNSUPPORTED

    def _start(self) -> None:
        """Start the state machine, with the profile of a game that runs already."""
        self.choose_profile(())
        self.services.machine.start(self._wanted())
        self._changes.profile_changed("started")
        self._changes.apply()

    # ---- subsystems --------------------------------------------------------------------------

    def _open(self, stack: ExitStack) -> Services:
        """Acquire in the order of need; the machine, which detaches, is released first but for signals."""
        topology.read()  # unreadable: the start fails, not the first attach
        machine = Machine(
            self._options, self, self.loop, self.store, self._boot, self._state_changed
        )
        observe = Observer(self.loop, kernel_input=self._options.kernel_input)
        stack.callback(observe.close)
        observe.set_generation(self.store.state.generation)
        profile = self._open_profile(observe)
        watch = self._open_watch(stack)
        games = self._open_games(observe, profile, stack)
        frames = GameFrames(self.loop, games, observe)
        stack.callback(frames.close)
        observe.on("SCHED_EXIT", lambda _event: machine.check())
        observe.on("PREEMPT_STORM", self._on_storm)
        sessions = Sessions(
            self.loop, self._paths.sessions_file, self._options,
            lambda: self.services, lambda: self._status.maxima.waits(),
        )  # fmt: skip
        stack.callback(sessions.close)
        frames.subscribe(sessions.frames.add)
        monitor, input_error = self._open_input(observe, stack)
        network = netlimit.TrafficLimiter(self.loop, games.pids)
        stack.callback(network.close)
        self.loop.at_pass_end(self._changes.apply)
        self.loop.at_pass_end(observe.feed.flush)
        period_ms = observe.abi.constants["SCXG_HEARTBEAT_PERIOD_MS"]
        comparison = Comparison(
            self.loop, machine, lambda: frames.monitor, games.listing, partial(_owners, games),
            lambda: profile.mode, profile.try_out,
        )  # fmt: skip
        stack.callback(comparison.close)
        services = Services(
            store=self.store,
            machine=machine,
            observe=observe,
            generations=Generations(observe),
            profile=profile,
            watch=watch,
            games=games,
            frames=frames,
            network=network,
            hints=Hints(games.hint, logind.active, partial(_owners, games)),
            comparison=comparison,
            heartbeat=Heartbeat(
                self.loop, machine, observe.feed, monitor, self._notifier, period_ms / 1000,
                self._on_beat,
            ),
            sessions=sessions,
            input=monitor,
            input_error=input_error,
            bus=self._open_bus(machine, games, profile, sessions, stack),
        )  # fmt: skip
        self._open_endpoints(services, stack)
        stack.callback(machine.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal(number, self._on_end)
        self.loop.add_signal(signal.SIGHUP, lambda: self._reload("SIGHUP"))
        stack.callback(self._notifier.stopping)
        return services

    def _open_profile(self, observe: Observer) -> ActiveProfile:
        options, constants = self._options, observe.abi.constants
        profile = ActiveProfile(
            observe.feed,
            constants,
            tunable_limits(constants),
            options,
            partial(read_options, options, constants),
            self._changes.profile_changed,
            self._profile_folders(),
        )
        profile.start(self.store.state.profile)
        observe.feed.flush()
        return profile

    def _open_watch(self, stack: ExitStack) -> str:
        """Watch the files of configuration and profiles; return the means, or why there is none."""
        try:
            watch = FolderWatch(self.loop, self._watched, lambda: self._reload("files changed"))
        except WatchError as err:
            log.warning("changed profiles need a reload: %s", err)
            return str(err)
        stack.callback(watch.close)
        return "inotify"

    def _open_games(
        self, observe: Observer, profile: ActiveProfile, stack: ExitStack
    ) -> GameDetector:
        games = GameDetector(
            self.loop,
            observe,
            self._changes.games_changed,
            source=self._options.process_source,
            detection=self._options.detection,
            all_users=self._options.all_users,
            state=self._paths.state,
        )
        stack.callback(games.close)
        games.use_profiles(profile.profiles)
        observe.on("EXEC", lambda _event: self._game_exec())
        return games

    def _open_input(self, observe: Observer, stack: ExitStack) -> tuple[InputMonitor | None, str]:
        """Open the input monitor, or return why it is unavailable: a scheduler without input boosts is of use."""
        if not self._options.input:
            return None, "switched off"
        try:
            from scx_gamer.input.monitor import InputError, InputMonitor
        except ImportError as err:
            return None, _no_input(f"{err}; install python-evdev and pyudev")
        monitor = InputMonitor(
            self.loop,
            observe.feed,
            observe.maps,
            observe.abi,
            kernel_path="on_input" in observe.hooks,
            missed=partial(observe.missed, "on_input"),
            lanes=self._options.input_lanes,
        )
        stack.callback(monitor.close)
        try:
            monitor.start()
        except InputError as err:
            return None, _no_input(str(err))
        observe.on("WINDOW", lambda event: monitor.on_window(int(event["lane"])))
        return monitor, ""

    def _open_bus(
        self,
        machine: Machine,
        games: GameDetector,
        profile: ActiveProfile,
        sessions: Sessions,
        stack: ExitStack,
    ) -> BusSignals | None:
        """Offer the service on the bus; everything else works without it."""
        if not self._options.bus:
            return None
        from scx_gamer.dbus import BusError
        from scx_gamer.service.bus_signals import BusSignals

        try:
            bus = BusSignals(
                self.loop, machine, games, profile, sessions, self._visibility,
                (self._paths.units_file, self._boot),
            )  # fmt: skip
        except (ImportError, BusError) as err:
            hint = "; install dbus-next" if isinstance(err, ImportError) else ""
            log.error("no service on the bus: %s%s", err, hint)
            return None
        stack.callback(bus.close)
        return bus

    def _open_endpoints(self, services: Services, stack: ExitStack) -> None:
        """Open the control socket, the hints socket, the bus's operations and the metrics."""
        self._status = Status(services, self.loop, self._began_ns)
        table = Operations(
            services, self._status, self._changes, self._reload, self._visibility
        ).table()
        if services.bus is not None:
            services.bus.serve(table)
        hint = {"hint": table["hint"]}
        for path, operations in (
            (self._paths.control_socket, table),
            (self._paths.hints_socket, hint),
        ):
            stack.callback(ControlServer(self.loop, path, operations).close)
        if self._options.metrics_address:
            from scx_gamer import metrics

            host, _, port = self._options.metrics_address.rpartition(":")
            exporter = metrics.open_exporter(self.loop, self._status.snapshot, host, int(port))
            stack.enter_context(exporter)

    # ---- the machine's way to the kernel -----------------------------------------------------

    def unsupported(self) -> str | None:
        return sysfs.unsupported()

    def attach(self, generation: int) -> Attached:
        """Attach a new generation, and send it the whole state first."""
        services = self.services
        services.observe.set_generation(generation)
        services.games.tell_all()
        services.profile.send_all()
        services.observe.feed.send("HEARTBEAT")
        services.observe.feed.flush()
        return services.generations.attach(generation)

    def other_loaded(self) -> bool:
        return sysfs.state() != "disabled"

    def hotplugs(self) -> int:
        return sysfs.hotplugs()

    def keep_dump(self, record: ExitRecord) -> None:
        if not self.services.comparison.scheduler_failed():
            self._changes.scheduler_failed(self.services.profile.name)
        where = exit_dumps.save(self._paths.exits, record, {"status": self._status.status()})
        if where is not None:
            log.info("dump of generation %d kept as %s", record.generation, where)

    # ---- events ------------------------------------------------------------------------------

    def _on_end(self) -> None:
        log.info("asked to end")
        self.loop.stop()

    def _on_storm(self, event: Event) -> None:
        self._storms += 1
        if self._storms.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …
            log.warning("CPU %d is preempted all the time (%d)", event["value"], self._storms)

    def _state_changed(self, before: State) -> None:
        state = self.services.machine.state
        if state is State.UNSUPPORTED:
            self._exit_code = UNSUPPORTED
            self.loop.stop()
        self._changes.state_changed(switched=before in INACTIVE or state in INACTIVE)

    def _game_exec(self) -> None:
        """Report the programs that processes of games run, several at once."""
        if not self._exec_pending:
            self._exec_pending = True
            self.loop.call_later(EXECS_SETTLE_S, self._execs_settled, name="execs of games")

    def _execs_settled(self) -> None:
        self._exec_pending = False
        self._changes.game_executed()

    def _on_beat(self) -> None:
        """Do what is due each second, and publish the status if the kernel has switched the boosts on or off."""
        self._status.maxima.roll()
        self.services.games.tick()
        if self._status.boosts_enabled() != self._boosts_enabled:
            self._changes.status_changed()

    def _reload(self, cause: str) -> None:
        """Read configuration and profiles again; keep the old where the new is wrong."""
        profile = self.services.profile
        profile.reload(cause)
        self.services.games.use_profiles(profile.profiles)
        self._changes.profile_changed(f"configuration reloaded: {cause}")

    # ---- consequences of changes -------------------------------------------------------------

    def choose_profile(self, failed: Sequence[str]) -> None:
        """Choose by failures and games, the newest game first; the focus does not matter."""
        for name in failed:
            self.services.profile.scheduler_failed(name)
        self.services.profile.set_games(self.services.games.facts())

    def set_wanted(self, cause: str) -> None:
        games = "a game runs" if self.services.games.wanted else "no game any more"
        self.services.machine.set_wanted(self._wanted(), cause or games)
        self.services.frames.games_changed()
        monitor = self.services.input
        if monitor is not None:
            monitor.set_lanes(self.services.profile.input_lanes)
            monitor.set_game(self.services.games.wanted)

    def _wanted(self) -> bool:
        return self.services.profile.mode == "always" or self.services.games.wanted

    def limit_network(self) -> None:
        """Limit traffic by the settings while a game runs, its grace period included, unless switched off."""
        services = self.services
        settings = services.profile.network()
        if settings is not None:
            services.network.apply(
                settings, services.games.wanted and not services.machine.inactive
            )

    def hold_resources(self) -> None:
        """Hold power, memory and I/O of the settings while a game runs, its grace period included, unless off."""
        services = self.services
        if services.bus is not None:
            playing = services.games.wanted and not services.machine.off
            services.bus.hold_power(services.profile.power if playing else "")
            services.bus.hold_resources(services.profile.resources if playing else {})
            services.bus.watch_power_source(services.profile.follows_power_source)

    def record_sessions(self) -> None:
        """Begin and end sessions with games, after the scheduler came or went: its counters are complete then."""
        self.services.sessions.update(self.services.games.unended())

    def publish(self) -> None:
        machine, bus = self.services.machine, self.services.bus
        self._boosts_enabled = self._status.boosts_enabled()
        status = self._status.status()
        status["games"] = self._visibility.public(status.get("games", []))
        if not self._visibility.everybody:
            status.pop("frames", None)
        self._publisher.write(status, hud.line(status))
        self._notifier.status(f"{machine.state}: {machine.cause}")
        if bus is not None:
            bus.publish()

    # ---- files -------------------------------------------------------------------------------

    def _profile_folders(self) -> tuple[Path, Path]:
        return folders(Path(self._options.config_dir) if self._options.config_dir else None)

    def _watched(self) -> list[Path]:
        vendor, admin = self._profile_folders()
        return with_subfolders([vendor, admin, admin.parent, admin.parent / "conf.d"])


def _owners(games: GameDetector) -> set[int]:
    """Return the users of the games that run."""
    return {uid for game in games.listing() for uid in uids_of(int(str(game["pid"])))}


def _no_input(why: str) -> str:
    log.error("input is off: %s", why)
    return why


def read_options(options: SupervisorOptions, constants: Mapping[str, int]) -> SupervisorOptions:
    """Read the options again from the folder that they came from, if from one. Raises ConfigError."""
    if not options.config_dir:
        return options
    config = load(Path(options.config_dir))
    config.check_tunables(constants)
    return replace(config, mode=options.mode) if options.mode_fixed else config


def main(options: SupervisorOptions) -> int:
    """Run in the foreground; the exit code. Raises what Supervisor.run() raises, with the daemon's exit code."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        return Supervisor(options, paths()).run()
    except BpfError as err:
        if os.geteuid() == 0 or err.exit_code != NO_PERMISSION:
            err.code = UNSUPPORTED
        raise

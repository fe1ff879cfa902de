# SPDX-License-Identifier: GPL-2.0-only
"""The supervisor: everything that runs, on one stack and one loop, around the state machine."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.config.settings import load, tunable_limits
from scx_gamer.config.watch import FolderWatch, WatchError, with_subfolders
from scx_gamer.control.server import ControlServer, Operation, PeerOperation
from scx_gamer.games.detector import GamesRoom
from scx_gamer.libbpf import BpfError
from scx_gamer.observe.observer import Event, Observe
from scx_gamer.profiles import folders
from scx_gamer.scheduler import exit_dumps, sysfs, topology
from scx_gamer.scheduler.attached import SchedulerLife
from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.scheduler.lives import Lives
from scx_gamer.scheduler.machine import Life, Machine, State
from scx_gamer.scheduler.store import StateStore, boot_id
from scx_gamer.service import hud
from scx_gamer.service.active_profile import Base, Tuning
from scx_gamer.service.heartbeat import Heartbeat
from scx_gamer.service.operations import Operations
from scx_gamer.service.services import Rooms
from scx_gamer.service.session_hints import Hints
from scx_gamer.service.status import Status, unsupported
from scx_gamer.service.status_files import Publisher
from scx_gamer.system import logind
from scx_gamer.system.exit_codes import NO_PERMISSION, OK, UNSUPPORTED
from scx_gamer.system.lock import Instance
from scx_gamer.system.loop import Loop
from scx_gamer.system.paths import Paths, paths
from scx_gamer.system.procfs import uids_of
from scx_gamer.system.sd_notify import Notifier
from scx_gamer.system.text import SafeFormatter

if TYPE_CHECKING:
    from scx_gamer.config.settings import Config

log = logging.getLogger(__name__)

EXECS_SETTLE_S = 0.05  # a launcher starts several programs in a row


class Supervisor:
    """Owns all of it; run() returns the exit code."""

    def __init__(self, options: SupervisorOptions, where: Paths) -> None:
        self._options = options
        self._paths = where
        self._boot = boot_id()
        self._exit_code = OK
        self._exec_pending = False
        self._off = False  # switched off: the settings limit no traffic either
        self._effects: int | None = None  # as published
        self._storms = 0
        self._lives = Lives()
        self._notifier = Notifier()
        self._publisher = Publisher(where)
        self.loop = Loop()
        self.store = StateStore(where)
        self.rooms = Rooms()
        self.status = Status(self.rooms, self._lives, self.store, self.loop, options.mode)
        self.operations = Operations(
            self.rooms, self.status, self.store, publish=self._publish, reload=self._reload
        )

    # ---- life ------------------------------------------------------------------------------

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Raises PathError, InstanceError, BpfError before the start."""
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
            machine, heartbeat = self._open(stack)
            gc.collect()
            gc.freeze()  # what is here stays: the collector's looks, for which input waits, pass it over
            self._notifier.ready("starting")
            machine.start(self._wanted())
            if not self.loop.stopped:
                heartbeat.start()
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
        """A kernel that cannot: say so, leave it readable, and end."""
        log.error("%s: %s", State.UNSUPPORTED, reason)
        self.store.save(running_boot="")
        body = unsupported(reason)
        self._publisher.write(body, hud.line(body))
        return UNSUPPORTED

    # ---- rooms -------------------------------------------------------------------------------

    def _open(self, stack: ExitStack) -> tuple[Machine, Heartbeat]:
        """Acquire in the order of need; the machine, which detaches, comes last but signals."""
        rooms = self.rooms
        topology.read()  # one that cannot be read ends us here, not when a game starts
        observe = Observe(self.loop, kernel_input=self._options.kernel_input)
        stack.callback(observe.close)
        rooms.observe = observe
        observe.set_generation(self.store.state.generation)
        self._open_tuning(observe, stack)
        self._open_games(observe, stack)
        observe.on("SCHED_EXIT", self._on_sched_exit)
        observe.on("PREEMPT_STORM", self._on_storm)
        self._open_input(observe, stack)
        self._open_network(stack)
        self.loop.at_pass_end(observe.feed.flush)
        self._open_doors(stack)
        self._open_metrics(stack)
        rooms.machine = Machine(
            self._options, self, self.loop, self.store, self._boot, self._changed
        )
        stack.callback(rooms.machine.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal(number, self._on_end)
        self.loop.add_signal(signal.SIGHUP, lambda: self._reload("SIGHUP"))
        stack.callback(self._notifier.stopping)
        period_ms = observe.abi.constants["SCXG_HEARTBEAT_PERIOD_MS"]
        heart = Heartbeat(self.loop, rooms, self._notifier, period_ms / 1000, self._look_at_effects)
        return rooms.machine, heart

    def _open_tuning(self, observe: Observe, stack: ExitStack) -> None:
        """Profiles, their values in the kernel, and the watch over their files."""
        constants = observe.abi.constants
        tuning = Tuning(
            observe.feed, constants, tunable_limits(constants), self._base,
            self._profile_changed, self._profile_folders(),
        )  # fmt: skip
        tuning.start(self.store.state.profile)
        observe.feed.flush()
        self.rooms.tuning = tuning
        try:
            watch = FolderWatch(self.loop, self._watched, lambda: self._reload("files changed"))
        except WatchError as err:
            self.rooms.watch = str(err)
            log.warning("changes of profiles are not seen by themselves: %s", err)
            return
        stack.callback(watch.close)

    def _open_games(self, observe: Observe, stack: ExitStack) -> None:
        games = GamesRoom(
            self.loop,
            observe,
            self._games_changed,
            source=self._options.process_source,
            detection=self._options.detection,
        )
        self.rooms.games = games
        stack.callback(games.close)
        if self.rooms.tuning is not None:
            games.use_profiles(self.rooms.tuning.profiles)
        games.start()
        observe.on("EXEC", lambda _event: self._game_exec())

    def _open_input(self, observe: Observe, stack: ExitStack) -> None:
        """Input is worth a scheduler without boosts: its failure is told, not fatal."""
        rooms = self.rooms
        if not self._options.input:
            rooms.input_error = "switched off"
            return
        try:
            from scx_gamer.input.monitor import InputError, InputRoom
        except ImportError as err:
            rooms.input_error = f"{err}; install python-evdev and pyudev"
            log.error("input is off: %s", rooms.input_error)
            return
        kernel_path = "on_input" in observe.hooks
        room = InputRoom(
            self.loop,
            observe.feed,
            observe.maps,
            observe.abi,
            kernel_path=kernel_path,
            missed=partial(observe.missed, "on_input"),
        )
        stack.callback(room.close)
        try:
            room.start()
        except InputError as err:
            rooms.input_error = str(err)
            log.error("input is off: %s", err)
            return
        observe.on("WINDOW", lambda event: room.on_window(int(event["lane"])))
        rooms.input = room

    def _open_network(self, stack: ExitStack) -> None:
        """Limits of background traffic: theirs is no fault that stops us."""
        from scx_gamer.netlimit import NetRoom

        self.rooms.network = NetRoom(self.loop, self._game_pids)
        stack.callback(self.rooms.network.close)
        self._off = self.store.state.off
        self._limit_network()

    def _open_doors(self, stack: ExitStack) -> None:
        """The socket of the operations, the socket of user sessions, the bus."""
        table = self.operations.table()
        control = ControlServer(self.loop, self._paths.control_socket, table)
        stack.callback(control.close)
        self._open_bus(table, stack)
        hints = Hints(self._offer_hint, logind.active, self._game_owners)
        self.rooms.hints = hints
        door = ControlServer(
            self.loop, self._paths.hints_socket, {"hint": PeerOperation(hints.take)}
        )
        stack.callback(door.close)

    def _open_bus(self, table: Mapping[str, Operation], stack: ExitStack) -> None:
        """Without the service everything else works: what it lacks is told, not fatal."""
        if not self._options.bus:
            return
        from scx_gamer.dbus import BusError
        from scx_gamer.service.bus_signals import BusLink

        try:
            bus = BusLink(self.loop, self.rooms, table)
        except (ImportError, BusError) as err:
            hint = "; install dbus-next" if isinstance(err, ImportError) else ""
            log.error("no service on the bus: %s%s", err, hint)
            return
        stack.callback(bus.close)
        self.rooms.bus = bus

    def _open_metrics(self, stack: ExitStack) -> None:
        if not self._options.metrics_address:
            return
        from scx_gamer import metrics

        host, _, port = self._options.metrics_address.rpartition(":")
        stack.enter_context(metrics.open_exporter(self.loop, self.status, host, int(port)))

    # ---- what the machine asks for ---------------------------------------------------------------

    def unsupported(self) -> str | None:
        return sysfs.unsupported()

    def attach(self, generation: int) -> Life:
        """A new object and a new generation, with everything the kernel was told before."""
        rooms = self.rooms
        assert rooms.observe is not None and rooms.games is not None
        rooms.observe.set_generation(generation)
        rooms.games.tell_all()
        if rooms.tuning is not None:
            rooms.tuning.send_all()
        rooms.observe.feed.send("HEARTBEAT")
        rooms.observe.feed.flush()
        cpus = topology.read()  # CPUs may have come or gone
        return self._lives.begin(SchedulerLife(rooms.observe, cpus, generation))

    def keep_dump(self, record: ExitRecord) -> None:
        if self.rooms.tuning is not None:
            self.rooms.tuning.failed()
        where = exit_dumps.save(self._paths.exits, record, {"status": self.status.status()})
        if where is not None:
            log.info("dump of generation %d kept as %s", record.generation, where)

    # ---- what happens ------------------------------------------------------------------------

    def _on_end(self) -> None:
        log.info("asked to end")
        self.loop.stop()

    def _on_storm(self, event: Event) -> None:
        self._storms += 1
        if self._storms.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …
            log.warning("CPU %d is preempted all the time (%d)", event["value"], self._storms)

    def _on_sched_exit(self, _event: Event) -> None:
        if self.rooms.machine is not None:
            self.rooms.machine.check()

    def _changed(self) -> None:
        machine = self.rooms.machine
        if machine is None:
            return
        if machine.state is State.UNSUPPORTED:
            self._exit_code = UNSUPPORTED
            self.loop.stop()
        if (machine.state is State.OFF) is not self._off:
            self._off = not self._off
            self._limit_network()
        self._publish()

    def _publish(self) -> None:
        machine = self.rooms.machine
        if machine is not None:
            self._effects = self.status.effects()
            status = self.status.status()
            self._publisher.write(status, hud.line(status))
            self._notifier.status(f"{machine.state}: {machine.cause}")
            if self.rooms.bus is not None:
                self.rooms.bus.tell()

    def _look_at_effects(self) -> None:
        """The kernel switches them on and off by itself: who reads the published files learns it here."""
        if self.status.effects() != self._effects:
            self._publish()

    # ---- games -------------------------------------------------------------------------------

    def _game_exec(self) -> None:
        """A process of a game runs another program: perhaps the one a profile names. Told once for many."""
        if not self._exec_pending:
            self._exec_pending = True
            self.loop.call_later(EXECS_SETTLE_S, self._execs_settled, name="execs of games")

    def _execs_settled(self) -> None:
        self._exec_pending = False
        self._tell_tuning()

    def _games_changed(self) -> None:
        rooms = self.rooms
        if rooms.machine is not None:
            playing = rooms.games is not None and rooms.games.wanted
            self._tell_tuning()
            rooms.machine.want(self._wanted(), "a game runs" if playing else "no game any more")
            self._limit_network()
            self._publish()

    def _wanted(self) -> bool:
        rooms = self.rooms
        mode = rooms.tuning.mode if rooms.tuning else self._options.mode
        return mode == "always" or bool(rooms.games and rooms.games.wanted)

    def _tell_tuning(self) -> None:
        """The processes of the games, the newest game first: focus has no say in the profile."""
        if self.rooms.tuning is not None and self.rooms.games is not None:
            self.rooms.tuning.play(self.rooms.games.facts())

    def _limit_network(self) -> None:
        """As the settings have it, while a game runs and nobody has switched us off.

        A game that comes back within its grace is told to nobody: until it is over, the limits stay.
        """
        rooms = self.rooms
        settings = rooms.tuning.network() if rooms.tuning is not None else None
        if rooms.network is not None and settings is not None:
            playing = rooms.games is not None and rooms.games.wanted
            rooms.network.apply(settings, playing and not self._off)

    def _game_pids(self) -> set[int]:
        return self.rooms.games.pids() if self.rooms.games is not None else set()

    def _game_owners(self) -> set[int]:
        return {uid for game in self.rooms.listing() for uid in uids_of(int(str(game["pid"])))}

    def _offer_hint(self, source: str, pid: int, kind: str) -> bool:
        """What the user sits at changes boosts; it never attaches, detaches or changes the profile."""
        return self.rooms.games is not None and self.rooms.games.hint(source, pid, kind)

    # ---- profiles ----------------------------------------------------------------------------

    def _base(self) -> Base:
        """What holds without a profile; read again where there are files. Raises ConfigError."""
        options, observe = self._options, self.rooms.observe
        if self.rooms.tuning is None or not options.config_dir:
            return Base(options.mode, options.tunables, options.network)
        assert observe is not None
        config = load(Path(options.config_dir))
        config.check_tunables(observe.abi.constants)
        mode = options.mode if options.mode_fixed else config.mode
        return Base(mode, config.tunables, config.network)

    def _profile_folders(self) -> tuple[Path, Path]:
        return folders(Path(self._options.config_dir) if self._options.config_dir else None)

    def _watched(self) -> list[Path]:
        vendor, admin = self._profile_folders()
        return with_subfolders([vendor, admin, admin.parent, admin.parent / "conf.d"])

    def _profile_changed(self, why: str) -> None:
        if self.rooms.machine is not None:
            self.rooms.machine.want(self._wanted(), why)
            self._limit_network()
            self._publish()

    def _reload(self, cause: str) -> None:
        """Configuration and profiles again; what is wrong stays as it was and is in the errors."""
        tuning, games = self.rooms.tuning, self.rooms.games
        if tuning is not None:
            tuning.reload(cause)
            if games is not None:
                games.use_profiles(tuning.profiles)
            self._limit_network()
            self._publish()


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
    """Run in the foreground; the exit code. Raises what Supervisor.run() raises, with the daemon's exit code."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    options = config if isinstance(config, SupervisorOptions) else options_of(config)
    try:
        return Supervisor(options, paths()).run()
    except BpfError as err:
        if os.geteuid() == 0 or err.exit_code != NO_PERMISSION:
            err.code = UNSUPPORTED
        raise

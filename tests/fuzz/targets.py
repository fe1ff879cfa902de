# SPDX-License-Identifier: GPL-2.0-or-later
"""Every parser of what others write, as a call that takes bytes. An error that is not its room's own is a bug."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scx_gamer.bench import mangohud
from scx_gamer.bench.workload import BenchError
from scx_gamer.compare.blocks import CompareError
from scx_gamer.config import network as network_config
from scx_gamer.config import settings
from scx_gamer.config.toml import ConfigError, parse
from scx_gamer.control import ControlError
from scx_gamer.control.operations import OPERATIONS, Operation
from scx_gamer.control.server import ControlServer, pid_of
from scx_gamer.dbus import BusError, wire
from scx_gamer.dbus.units import HeldFile
from scx_gamer.frames.mangohud_log import LogError, LogParser
from scx_gamer.games import commandline, records, userfiles
from scx_gamer.games import lists as detect
from scx_gamer.games.desktop import Entries, Place, add_entry, parse_entry
from scx_gamer.games.explain import explain
from scx_gamer.games.marks import MarkFile
from scx_gamer.games.proc import ProcFs
from scx_gamer.games.process_events import decode
from scx_gamer.games.tracker import Tracker
from scx_gamer.input import acts, classify, devices, hid, reader
from scx_gamer.leakcheck import kmemleak, memory
from scx_gamer.libbpf import Abi, BpfError, Btf, find_object, object_btf
from scx_gamer.libbpf.btf import elf_section
from scx_gamer.netlimit import cgroups
from scx_gamer.observe.observer import Observer
from scx_gamer.profiles import of_documents
from scx_gamer.scheduler import topology
from scx_gamer.scheduler.store import StateStore
from scx_gamer.service.session_hints import Hints
from scx_gamer.sessions import SessionError, summary
from scx_gamer.sessions import database as sessions
from scx_gamer.sessions.record import parse as session_figures
from scx_gamer.sessions.report import html
from scx_gamer.system import procfs
from scx_gamer.system.paths import Paths
from scx_gamer.system.text import printable
from scx_gamer.trace.answer import Answer
from scx_gamer.tune import store as tuning
from scx_gamer.tune.dropin import evidence
from tests.unit.profiles.support import LIMITS, TOP
from tests.unit.service.test_comparison import Place as Compared

Target = Callable[[bytes], None]
SEPARATOR = b"\n====\n"  # between the files of an input that has several


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def parts(data: bytes, count: int) -> list[bytes]:
    found = data.split(SEPARATOR)[:count]
    return found + [b""] * (count - len(found))


def one_line(err: Exception) -> None:
    assert str(err).isprintable(), repr(str(err))


def config_file(scratch: Path) -> Target:
    def target(data: bytes) -> None:
        (scratch / "config.toml").write_bytes(data)
        try:
            network_config.settings_of(settings.load(scratch).network)
        except ConfigError as err:
            one_line(err)

    return target


def profile_file(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        try:
            documents = [parse(part, "x.toml") for part in data.split(SEPARATOR)[:3]]
            profile = of_documents("x", documents, LIMITS)
        except ConfigError as err:
            one_line(err)
        else:
            assert all(LIMITS[n][0] <= v <= LIMITS[n][1] for n, v in profile.tunables.items())

    return target


def detect_file(scratch: Path) -> Target:
    path = scratch / "detect.toml"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(detect.DetectDataError):
            detect.RoleTable(detect.load(path)).role_of("x")

    return target


def proc_tree(scratch: Path) -> Target:
    """A whole process: what it is called, was started with, and sits in; then a verdict about it."""
    shipped = detect.load(TOP / "profiles/detect.toml")
    files = ("stat", "cmdline", "environ", "cgroup", "status", "comm")
    (scratch / "7").mkdir()
    proc = ProcFs(scratch)

    def target(data: bytes) -> None:
        for name, part in zip(files, parts(data, len(files)), strict=True):
            (scratch / "7" / name).write_bytes(part)
        track = Tracker(proc, shipped, {})
        track.reconcile(1.0)
        track.add_explicit(7, "x")
        track.update(2.0)
        told = explain(track, 7, 3.0)
        json.dumps(told, default=str)
        procfs.cgroup_of(7, scratch)
        assert printable(procfs.comm_of(7, scratch)).isprintable()

    return target


def desktop_entry(_scratch: Path) -> Target:
    mounts = userfiles.Mounts()

    def target(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        parsed = parse_entry(text)
        found = Entries()
        add_entry(parsed, found, Place("/"), mounts)
        assert parsed is None or (len(parsed[0].name) <= 128 and parsed[0].name.isprintable())

    return target


def command_line(_scratch: Path) -> Target:
    """A command line and the path of its program: any words, for any interpreter."""
    loaders = frozenset({"wine", "wine64"})

    def target(data: bytes) -> None:
        exe, *argv = (text_of(word) for word in data.split(b"\0"))
        words = commandline.read(exe, argv, "comm", loaders)
        assert words.script in ("", *argv) and words.windows in ("", *argv)
        assert words.name == words.name.lower()

    return target


def store_record(scratch: Path) -> Target:
    """Parse the records of stores beside their games: text, JSON, compressed JSON, binary VDF, and mounts."""
    game = scratch / "steamapps/common/Game"
    (game / ".itch").mkdir(parents=True)
    mounts = userfiles.Mounts()

    def target(data: bytes) -> None:
        acf, gog, itch = parts(data, 3)
        (scratch / "steamapps/appmanifest_7.acf").write_bytes(acf)
        (game / "goggame-1.info").write_bytes(gog)
        (game / ".itch/receipt.json.gz").write_bytes(itch)
        assert len(records.steam_name(str(game), "", 7, mounts)) <= 128
        (scratch / "userdata/1/config").mkdir(parents=True, exist_ok=True)
        (scratch / "userdata/1/config/shortcuts.vdf").write_bytes(data)
        assert len(records.shortcut_name(str(scratch), 7, mounts)) <= 128
        (game / "run_Data").mkdir(exist_ok=True)
        (game / "run_Data/app.info").write_bytes(itch)
        found = records.of_program(f"{game}/run", mounts)
        assert found is None or len(found.name) <= 128
        records.app_type(data, 7)
        userfiles.Mounts(text_of(data)).answers("/a/b")

    return target


def marks_file(scratch: Path) -> Target:
    path = scratch / "marks.json"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        found = MarkFile(path, "boot").read()
        assert set(found) == {"explicit", "began"}

    return target


def units_file(scratch: Path) -> Target:
    """Properties that a killed supervisor held: what is read can be written and read again."""
    path = scratch / "units.json"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        file = HeldFile(path, "boot")
        rows = file.load()
        file.save(rows)
        assert path.exists() == bool(rows) and file.load() == rows

    return target


def kmemleak_report(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        records = kmemleak.parse(data.decode("utf-8", "replace"))
        assert all(r.size >= 0 and all(r.frames) for r in records)
        kmemleak.groups(records)

    return target


def slabinfo(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        found = [
            *memory.slabinfo(text).values(),
            *memory.kilobytes(text, (*memory.MEMINFO, "VmRSS")).values(),
        ]
        assert all(value >= 0 for value in found)

    return target


def state_file(scratch: Path) -> Target:
    where = Paths(scratch / "run", scratch / "state", scratch / "etc")
    where.create()

    def target(data: bytes) -> None:
        state, copy = parts(data, 2)
        where.state_file.write_bytes(state)
        (where.runtime / "generation").write_bytes(copy)
        store = StateStore(where)
        generation = store.load().generation
        assert 0 <= generation < 1 << 64
        assert store.save(running_boot="b")
        assert StateStore(where).load() == store.state

    return target


def tuning_file(scratch: Path) -> Target:
    """Courses of `tune`: all that is read can be written, told and read again."""
    path = scratch / "tuning.json"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        try:
            found = tuning.load(path)
        except CompareError as err:
            one_line(err)
            return
        for course in found.values():
            for kept in course.kept.values():
                assert evidence(kept).isprintable()
        tuning.save(path, found)
        assert tuning.load(path) == found

    return target


def session_file(scratch: Path) -> Target:
    """A database of sessions, whole or damaged, and an id that a user asks for."""
    path = scratch / "sessions.db"

    def target(data: bytes) -> None:
        file, asked = parts(data, 2)
        path.write_bytes(file)
        for name in ("-wal", "-shm", ".bad"):
            Path(f"{path}{name}").unlink(missing_ok=True)
        try:
            with sessions.Database(path) as db:
                rows = db.listing(0, (), count=100)
                number = int(asked[:40]) if asked.strip().isdigit() else 1
                rows.append(db.one(number, 0, ()))
                for row in rows:
                    html({"timeline": []} | row)
        except SessionError as err:
            one_line(err)

    return target


def session_record(_scratch: Path) -> Target:
    """Figures of a record, as the words and the page of a player."""
    fixed = {
        "id": 1, "uid": 0, "game": "x", "app_id": "", "profile": "", "began": 0, "duration_s": 1.0, "state": "cut",
        "timeline": [],
    }  # fmt: skip

    def target(data: bytes) -> None:
        try:
            record = fixed | session_figures(data.decode("utf-8", "surrogateescape"))
        except SessionError as err:
            one_line(err)
            return
        html(record)
        assert summary.sentence(record).isprintable()

    return target


def messages(scratch: Path) -> Target:
    """A line on the control socket."""
    comparison = Compared(scratch).comparison
    server = object.__new__(ControlServer)
    server.requests = 0
    server.operations = {
        "explain": Operation(lambda request, _uid: pid_of(request), OPERATIONS["explain"]),
        "stop": Operation(lambda _request, _uid: None, OPERATIONS["stop"]),
        "compare": Operation(comparison.hold, OPERATIONS["compare"]),
        "compare_end": Operation(comparison.release, OPERATIONS["compare_end"]),
    }

    def target(data: bytes) -> None:
        for line in data.split(b"\n"):
            answer = server._answer(line, 1000)
            assert type(answer["ok"]) is bool and json.dumps(answer)

    return target


def hints(scratch: Path) -> Target:
    clock = [10**12]
    room = Hints(lambda *_: True, lambda _uid: True, set, proc=scratch, now_ns=lambda: clock[0])
    (scratch / "10").mkdir()

    def target(data: bytes) -> None:
        request, status = parts(data, 2)
        (scratch / "10" / "status").write_bytes(status)
        clock[0] += 10**9
        try:
            asked = json.loads(request)
        except (ValueError, RecursionError):
            return
        if isinstance(asked, dict):
            with suppress(ControlError):
                room.take(asked, 1000)

    return target


def events(_scratch: Path) -> Target:
    """A record of the event ring: version, type, length and fields as they come."""
    observe = object.__new__(Observer)
    observe.abi = Abi(object_btf(find_object("observe")))
    kinds = {n: v for n, v in observe.abi.constants.items() if n.startswith("SCXG_EV_")}
    observe._names = {value: name.removeprefix("SCXG_EV_") for name, value in kinds.items()}
    observe._handlers = {value: [lambda event: None] for value in kinds.values()}
    observe.events, observe.events_unknown, observe.events_stale = Counter(), 0, 0
    observe.feed = type("Generation", (), {"generation": 7})()

    def target(data: bytes) -> None:
        with suppress(BpfError):
            observe._on_event(data)
        with suppress(BpfError):
            observe.abi.unpack("scxg_exit", data)

    return target


def connector(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        decode(data)

    return target


def btf(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        with suppress(BpfError):
            found = Btf(data)
            found.struct("scxg_control")
            Abi(found)
        with suppress(BpfError):
            elf_section(data, ".BTF", "x")

    return target


def bus(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        frames = wire.Frames()
        frames.feed(data)
        with suppress(BusError):
            while (one := frames.next()) is not None:
                frame, whole = one
                wire.decode(frame if whole else wire.without_body(frame))

    return target


def network(scratch: Path) -> Target:
    (scratch / "self").mkdir()

    def target(data: bytes) -> None:
        first, mountinfo = parts(data, 2)
        text = text_of(first)
        for read in (
            network_config.parse_rate,
            network_config.parse_time,
            network_config.parse_target,
            network_config.parse_cli_target,
        ):
            try:
                read(text)
            except network_config.UnitError as err:
                one_line(err)
        (scratch / "self/mountinfo").write_bytes(mountinfo)
        cgroups.hierarchy(scratch)

    return target


def sysfs(_scratch: Path) -> Target:
    """Lists of CPUs, capabilities of devices."""

    def target(data: bytes) -> None:
        text = text_of(data)
        with suppress(ValueError):
            topology.parse_list(text)
        with suppress(classify.CapabilityError):
            classify.parse_bits(text)

    return target


def input_events(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        axes = acts.Axes(classify.Lane.GAMEPAD, acts.DEAD_PERMILLE)
        axes.learn(0, acts.Limits(0, 255), 128)
        batch = reader.parse_batch(data, axes)
        assert 0 <= batch.events <= len(data)
        assert len(batch.acted) <= min(batch.events, len(acts.Source))

    return target


def udev_entry(scratch: Path) -> Target:
    (scratch / "event0").mkdir(exist_ok=True)
    (scratch / "event0" / "dev").write_text("13:64\n")

    def target(data: bytes) -> None:
        (scratch / "c13:64").write_bytes(data)
        found = devices.udev_properties(str(scratch), "event0", scratch)
        assert all(isinstance(key, str) and "\n" not in key + value for key, value in found.items())

    return target


def report_descriptor(_scratch: Path) -> Target:
    def target(data: bytes) -> None:
        found = hid.applications(data)
        assert len(found) <= hid.MAX_DESCRIPTOR
        assert all(0 <= page < 1 << 16 and 0 <= usage < 1 << 16 for page, usage in found)

    return target


def frame_log(scratch: Path) -> Target:
    path = scratch / "log.csv"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        text = data.decode("utf-8", "replace")
        log, rows = LogParser(), []
        with suppress(LogError):
            for at in range(0, len(text), 13):  # as a log that grows is read
                rows += log.feed(text[at : at + 13])
            rows += log.end()
            assert rows == LogParser().feed(text + "\n")
        assert all(row.took_ms > 0 and abs(row.elapsed_ns or 0) < 1 << 54 for row in rows)
        try:
            found = mangohud.read(path)
        except BenchError:
            return
        assert found.mean_fps > 0 and found.low1_fps > 0

    return target


def trace_answer(_scratch: Path) -> Target:
    """Parse the output of the tracing child."""

    def target(data: bytes) -> None:
        try:
            answer = Answer.parse(json.loads(data))
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return
        json.dumps(answer.as_dict())

    return target


TARGETS: dict[str, Callable[[Path], Target]] = {
    made.__name__: made
    for made in (
        config_file, profile_file, detect_file, proc_tree, desktop_entry, command_line, store_record, marks_file,
        units_file,
        kmemleak_report, slabinfo, state_file, tuning_file, session_file, session_record,
        messages, hints, events, connector, btf, bus, network, sysfs, input_events, report_descriptor, udev_entry,
        frame_log, trace_answer,
    )
}  # fmt: skip


def quiet() -> None:
    """Silence the log of parsers, which would be most of the output."""
    logging.disable(logging.CRITICAL)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that others choose, and paths that others may prepare: neither gets further than it may."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scx_gamer.config import settings
from scx_gamer.control import ControlError
from scx_gamer.control.server import ControlServer
from scx_gamer.doctor import report
from scx_gamer.scheduler import exit_dumps
from scx_gamer.scheduler.exits import KIND_ERROR, ExitRecord
from scx_gamer.scheduler.store import StateStore
from scx_gamer.service.status_files import Publisher
from scx_gamer.system.files import write_atomic
from scx_gamer.system.lock import Instance, InstanceError
from scx_gamer.system.loop import Loop
from scx_gamer.system.paths import Paths
from scx_gamer.system.safe_log import SafeFormatter
from scx_gamer.system.text import printable

SECRET = b"root's own"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(SECRET)
    return path


def test_a_link_in_place_of_the_file_is_replaced_not_followed(tmp_path: Path, victim: Path) -> None:
    target = tmp_path / "state.json"
    target.symlink_to(victim)
    write_atomic(target, b"new", 0o644, sync=False)
    assert victim.read_bytes() == SECRET
    assert not target.is_symlink() and target.read_bytes() == b"new"


def test_a_link_in_place_of_the_temporary_is_removed(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "state.json.tmp").symlink_to(victim)
    write_atomic(tmp_path / "state.json", b"new", 0o644, sync=False)
    assert victim.read_bytes() == SECRET
    assert (tmp_path / "state.json").read_bytes() == b"new"
    assert not (tmp_path / "state.json").is_symlink()


def test_a_link_swapped_in_at_any_moment_never_reaches_the_victim(
    tmp_path: Path, victim: Path
) -> None:
    """Somebody exchanges both names for links as fast as he can, while we write."""
    target, end = tmp_path / "status.json", threading.Event()

    def swap() -> None:
        while not end.is_set():
            for name in ("status.json", "status.json.tmp"):
                try:
                    os.symlink(victim, tmp_path / "swap")
                    os.rename(tmp_path / "swap", tmp_path / name)
                except OSError:
                    (tmp_path / "swap").unlink(missing_ok=True)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        written = 0
        for _ in range(3000):
            try:
                write_atomic(target, b"x" * 100, 0o644, sync=False)
                written += 1
            except OSError:
                continue
    finally:
        end.set()
        thread.join()
    assert victim.read_bytes() == SECRET
    assert oct(victim.stat().st_mode & 0o777) != oct(0o666)


def test_state_and_dumps_do_not_follow_links(tmp_path: Path, victim: Path) -> None:
    where = Paths(tmp_path / "run", tmp_path / "state", tmp_path / "etc")
    where.create()
    for name in ("state.json", "state.json.tmp"):
        (where.state / name).symlink_to(victim)
    (where.runtime / "generation").symlink_to(victim)
    store = StateStore(where)
    store.load()
    store.save(generation=store.state.generation + 1)
    store.save(generation=store.state.generation + 1)
    record = ExitRecord(KIND_ERROR, 0, store.state.generation, "reason", "message", "dump")
    for entry in (f"{record.generation}-1024.json", f"{record.generation}-1024.json.tmp"):
        (where.exits / entry).symlink_to(victim)
    exit_dumps.save(where.exits, record, {})
    assert victim.read_bytes() == SECRET


def test_what_is_published_does_not_follow_links(tmp_path: Path, victim: Path) -> None:
    where = Paths(tmp_path / "run", tmp_path / "state", tmp_path / "etc")
    where.create()
    for target in (where.status_file, where.hud_file):
        for path in (target, target.with_name(target.name + ".tmp")):
            path.symlink_to(victim)
    publisher = Publisher(where)
    publisher.write({"state": "idle"}, "idle")
    assert victim.read_bytes() == SECRET and not where.status_file.is_symlink()
    where.hud_file.unlink()
    where.hud_file.symlink_to(victim)
    publisher.remove()
    assert victim.read_bytes() == SECRET and list(where.runtime.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_place_of_the_socket_is_not_followed(
    tmp_path: Path, victim: Path, there: bool
) -> None:
    """Neither is what it names replaced, made, nor opened to all."""
    victim.chmod(0o600)
    aim = victim if there else tmp_path / "not-there"
    (tmp_path / "control.sock").symlink_to(aim)
    with Loop() as loop, pytest.raises(ControlError, match="in use"):
        ControlServer(loop, tmp_path / "control.sock", {})
    assert victim.read_bytes() == SECRET and victim.stat().st_mode & 0o777 == 0o600
    assert aim.exists() == there


def test_the_report_is_not_written_through_a_link(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "gather", lambda: {"a": "b"})
    for aim in (victim, tmp_path / "not-there"):
        link = tmp_path / f"link-to-{aim.name}"
        link.symlink_to(aim)
        with pytest.raises(report.ReportError, match="--output"):
            report.write(link)
    assert victim.read_bytes() == SECRET and not (tmp_path / "not-there").exists()
    written = report.write(tmp_path / "report.tar.gz")
    assert written.stat().st_mode & 0o777 == 0o600


def test_the_lock_is_on_a_directory_and_on_no_link_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InstanceError):
        Instance(tmp_path / "file")
    with pytest.raises(InstanceError):
        Instance(tmp_path / "missing")


HOSTILE = [
    "two\nlines",
    "\x1b]0;title\x07\x1b[2J",
    "\u202egnp.exe",
    "\udcff\udcfe",
    "\x9b31m",
    "a\rb",
    "tab\tand\x00nul",
    '"} 1\nfake_metric 2',
    "\u2028separator",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_one_printable_line(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable() and "\n" not in shown
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", shown)


@hypothesis_settings(max_examples=500, deadline=None)
@given(st.binary(max_size=64))
def test_any_comm_is_one_printable_line(raw: bytes) -> None:
    shown = printable(raw)
    assert shown.isprintable() or shown == ""
    shown.encode("utf-8")


def test_a_log_line_of_an_exit_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The text of an exit comes from the kernel, which puts names of tasks into it."""
    record = ExitRecord(KIND_ERROR, 0, 1, "runnable task stall", "evil\n\x1b[2J(comm) failed", "")
    with caplog.at_level(logging.WARNING):
        logging.getLogger("x").warning("%s", record.line())
    assert "\n" not in caplog.records[0].getMessage()
    assert "\x1b" not in caplog.records[0].getMessage()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_a_log_line(name: str) -> None:
    """The supervisor's log handler escapes the messages of every logger."""
    formatter = SafeFormatter("%(levelname)s %(name)s: %(message)s")
    record = logging.LogRecord("x", logging.INFO, "f", 1, "game %d (%s)", (7, name), None)
    line = formatter.format(record)
    assert line.isprintable() and line.startswith("INFO x: game 7 (")
    line.encode("utf-8")


def test_a_traceback_is_printable_line_by_line() -> None:
    try:
        raise ValueError("evil\x1b[2J\x07")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    lines = SafeFormatter("%(message)s").format(record).split("\n")
    assert len(lines) > 2 and all(line.isprintable() for line in lines)


def test_configuration_names_no_pid() -> None:
    """A pid in a file is another process tomorrow."""

    def names(kind: type) -> set[str]:
        found = set()
        for field in dataclasses.fields(kind):
            found.add(field.name)
            for part in re.findall(r"\w+", str(field.type)):
                inner = getattr(settings, part, None)
                if isinstance(inner, type) and dataclasses.is_dataclass(inner):
                    found |= names(inner)
        return found

    keys = names(settings.Config)
    shipped = (Path(__file__).parents[2] / "profiles/config.toml").read_text()
    keys |= set(re.findall(r"^#?\s*(\w+) =", shipped, re.MULTILINE))
    assert {"mode", "tunables"} <= keys
    assert not [key for key in keys if re.search(r"(^|_)(pid|pids|tgid|tid)(_|$)", key)]

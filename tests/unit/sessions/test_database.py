# SPDX-License-Identifier: GPL-2.0-or-later
"""The database of sessions: upgraded, bounded, killed, broken, and read by those who may."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scx_gamer.sessions import SessionError
from scx_gamer.sessions.database import MIGRATIONS, VERSION, Database, Sample, open_for_writing
from scx_gamer.sessions.record import CUT, ENDED, RUNNING
from tests.processes import running
from tests.unit.sessions.support import Source, made, record

TREE = Path(__file__).resolve().parents[3]
# As version 1 made it, in its own words: the code may change, the files of players do not.
VERSION_1 = """
PRAGMA page_size = 1024;
PRAGMA journal_mode = WAL;
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid INTEGER NOT NULL, game TEXT NOT NULL, app_id TEXT NOT NULL, profile TEXT NOT NULL,
    began INTEGER NOT NULL, duration_s REAL NOT NULL, state TEXT NOT NULL, figures TEXT NOT NULL
);
CREATE INDEX sessions_of ON sessions (uid, id);
INSERT INTO sessions VALUES (41, 1000, 'Elden Ring', '1245620', 'auto', 1700000000, 7980.5, 'running', '{figures}');
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as db:
        found = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    return int(found)


def test_a_record_comes_back_as_it_was_written(path: Path) -> None:
    source = Source()
    session = made(source)
    source.wait("game", 40, 100)
    source.time_s += 10
    session.advance(source.read())
    sample = Sample(10.0, 1.5, 2.0, 64.0, 90.0, 4096.0, taken_ms=1.5, taken_by="cc1plus")
    with Database(path, create=True) as db:
        db.write([(session, RUNNING, 10.0, sample)])
        found = db.one(session.id, 1000, {session.id})
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert (found["game"], found["state"], found["duration_s"]) == ("Doom", "running", 10.0)
    assert found["waits"]["game"]["count"] == 100
    assert found["timeline"] == [sample._asdict()]


def test_an_older_schema_is_read_and_upgraded(path: Path) -> None:
    figures = json.dumps(made(Source()).figures())
    old = sqlite3.connect(path)
    old.executescript(VERSION_1.replace("{figures}", figures))
    old.close()
    with Database(path) as db:  # a reader changes nothing
        assert db.one(41, 1000, ())["timeline"] == []
    assert version_of(path) == 1
    with open_for_writing(path) as db:
        session = made(Source(), game="New")
        db.write([(session, ENDED, 60.0, Sample(10.0, 1, 1, 1, 1, 1))])
        rows = db.listing(1000, (), count=10)
        assert [(row["id"], row["game"], row["state"]) for row in rows] == [
            (42, "New", ENDED),
            (41, "Elden Ring", CUT),
        ]
        assert len(db.one(42, 1000, ())["timeline"]) == 1
    assert version_of(path) == VERSION == len(MIGRATIONS)


def test_a_timeline_without_programs_is_read_and_upgraded(path: Path) -> None:
    old = sqlite3.connect(path)
    for step in MIGRATIONS[:2]:
        old.executescript(step)
    old.execute("PRAGMA user_version = 2")
    old.execute(
        "INSERT INTO sessions VALUES (1, 1000, 'Doom', '', '', 0, 9.0, 'ended', ?)",
        (json.dumps(made(Source()).figures()),),
    )
    old.execute("INSERT INTO samples (session, at_s, frames) VALUES (1, 20.0, 7)")
    old.commit()
    old.close()
    with Database(path) as db:
        [sample] = db.one(1, 1000, ())["timeline"]
    assert (sample["frames"], sample["taken_ms"], sample["taken_by"]) == (7, None, None)
    with open_for_writing(path) as db:
        assert db.one(1, 1000, ())["timeline"] == [sample]
    assert version_of(path) == VERSION


def test_what_is_no_name_in_a_timeline_is_not_shown(path: Path) -> None:
    record(path)
    db = sqlite3.connect(path)
    db.execute("INSERT INTO samples (session, at_s, taken_by) VALUES (1, 20.0, x'00ff')")
    db.execute("INSERT INTO samples (session, at_s, taken_by) VALUES (1, 40.0, ?)", ("a\n" * 200,))
    db.commit()
    db.close()
    with Database(path) as read:
        first, second = (sample["taken_by"] for sample in read.one(1, 1000, ())["timeline"])
    assert first is None and second.isprintable() and len(second) <= 128


def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(path)
    steps = (*MIGRATIONS, "CREATE TABLE more (x); CREATE TABLE sessions (x)")
    monkeypatch.setattr("scx_gamer.sessions.database.MIGRATIONS", steps)
    monkeypatch.setattr("scx_gamer.sessions.database.VERSION", len(steps))
    with pytest.raises(SessionError, match="already exists"):
        Database(path, create=True)
    assert version_of(path) == len(steps) - 1
    db = sqlite3.connect(path)
    assert not db.execute("SELECT * FROM sqlite_master WHERE name = 'more'").fetchall()
    db.close()


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    record(path)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(SessionError, match="newer version"):
            Database(path, create=create)
    with pytest.raises(SessionError, match="newer version"):
        open_for_writing(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [-687865854, -1, 0])
def test_a_header_with_a_version_that_never_was(path: Path, version: int) -> None:
    """sqlite3 keeps the number in the file's header and checks nothing about it."""
    [number] = record(path)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = path.read_bytes()
    if version:
        with pytest.raises(SessionError, match="malformed schema version"):
            Database(path)
        with open_for_writing(path) as begun:
            assert begun.listing(0, (), count=10) == []
        assert path.with_name("sessions.db.bad").read_bytes() == before
    else:  # a record is read without its timeline
        with Database(path) as read:
            assert read.one(number, 0, ())["timeline"] == []


@pytest.mark.parametrize("damage", [b"no database" * 99, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_broken_file_is_kept_aside(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    with open_for_writing(path) as db:
        assert db.listing(0, (), count=10) == []
    assert path.with_name("sessions.db.bad").read_bytes() == damage


def test_a_damaged_page_is_an_error_and_no_crash(path: Path) -> None:
    record(path, 50)
    good = path.read_bytes()
    for at in range(100, len(good), 997):
        path.write_bytes(good[:at] + b"\xff" * 64 + good[at + 64 :])
        try:
            with Database(path) as db:
                db.listing(0, (), count=100)
                db.one(3, 0, ())
        except SessionError as err:
            assert str(err).isprintable()


def test_users_see_and_delete_their_own(path: Path) -> None:
    [mine], [others] = record(path, uid=1000), record(path, uid=1001)
    with Database(path, create=True) as db:
        assert [row["id"] for row in db.listing(1000, (), count=10)] == [mine]
        assert [row["id"] for row in db.listing(0, (), count=10)] == [others, mine]
        with pytest.raises(SessionError) as refused:
            db.one(others, 1000, ())
        with pytest.raises(SessionError) as missing:
            db.one(999, 1000, ())
        assert str(refused.value).replace(str(others), "N") == str(missing.value).replace(
            "999", "N"
        )
        assert db.delete(others, 1000) == 0
        assert db.delete(None, 1000) == 1
        assert [row["id"] for row in db.listing(0, (), count=10)] == [others]
        assert db.delete(others, 0) == 1


def test_a_session_that_runs_is_not_deleted(path: Path) -> None:
    session = made(Source())
    with Database(path, create=True) as db:
        db.write([(session, RUNNING, 10.0, None)])
        assert db.delete(session.id, 0) == 0 == db.delete(None, 0)


@pytest.mark.parametrize("number", [0, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 200])
def test_ids_that_do_not_exist(path: Path, number: int) -> None:
    record(path)
    with Database(path) as db, pytest.raises(SessionError):
        db.one(number, 0, ())


def test_age_and_size_bound_it_and_nobody_pushes_out_the_others(path: Path) -> None:
    now = time.time()
    record(path, began=int(now) - 10 * 86400)
    [mine] = record(path, uid=1000, began=int(now))
    record(path, 400, uid=1001, began=int(now))
    with Database(path, create=True) as db:
        assert db.prune(9, 1 << 30) == 1
        full = db._used()
        assert db.prune(9, full // 2) >= 150
        assert db._used() <= full // 2
        rows = db.listing(1000, (), count=10)
        assert [row["id"] for row in rows] == [mine]
        # the oldest of the other went first
        newest = db.listing(1001, (), count=1)[0]["id"]
        assert newest == mine + 400
    assert path.stat().st_size <= full * 3 // 4


def test_a_timeline_goes_with_its_session(path: Path) -> None:
    session = made(Source())
    with Database(path, create=True) as db:
        db.write([(session, ENDED, 10.0, Sample(10.0, 1, 1, 1, 1, 1))])
        db.delete(session.id, 0)
        assert not db._db.execute("SELECT * FROM samples").fetchall()


def test_a_write_that_failed_leaves_no_id(path: Path) -> None:
    session = made(Source())
    with Database(path, create=True) as db:
        with pytest.raises(SessionError):
            db.write([(session, RUNNING, 1.0, None), (session, None, 1.0, None)])  # type: ignore[list-item]
        assert session.id == 0 and db.listing(0, (), count=10) == []


def test_a_reader_holds_up_no_writer(path: Path) -> None:
    """As an administrator with sqlite3 may, for hours."""
    record(path)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sessions").fetchone()
    begun = time.monotonic()
    assert record(path) == [2]
    assert time.monotonic() - begun < 5
    assert len(reader.execute("SELECT * FROM sessions").fetchall()) == 1
    reader.close()


def test_no_write_waits_for_the_disk_and_the_end_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, log = Source(), Path(f"{path}-wal")
    session = made(source)

    def write(db: Database) -> None:
        source.wait("game", 40)
        session.advance(source.read())
        db.write([(session, RUNNING, 1.0, None)])

    with Database(path, create=True) as db:
        for _ in range(100):
            write(db)
            assert db._db.execute("PRAGMA synchronous").fetchone() == (0,)
        assert log.stat().st_size > 100 * 1024 > path.stat().st_size
        monkeypatch.setattr("scx_gamer.sessions.database._MAX_LOG", 100 * 1024)
        for _ in range(200):
            write(db)
        assert log.stat().st_size < 200 * 1024  # moved into the database now and then
    assert not log.exists()  # at rest there is one file, also after a reader
    with Database(path) as db:
        assert len(db.listing(0, (), count=10)) == 1
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_locked_database_is_an_error_at_once(path: Path) -> None:
    record(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    session = made(Source())
    with Database(path, create=True) as db:
        begun = time.monotonic()
        with pytest.raises(SessionError, match="locked"):
            db.write([(session, RUNNING, 1.0, None)])
        assert time.monotonic() - begun < 4  # not the five seconds of Python's default
    other.close()


WRITER = """
import sys
from pathlib import Path
from scx_gamer.sessions.database import Sample, open_for_writing
from scx_gamer.sessions.record import RUNNING
from tests.unit.sessions.support import Source, made
source = Source()
session = made(source)
with open_for_writing(Path(sys.argv[1])) as db:
    for second in range(1, 100000):
        source.time_s += 1
        source.wait("game", 40)
        session.advance(source.read())
        db.write([(session, RUNNING, float(second), Sample(float(second), 1, 1, 1, 1, 1))])
        print(second, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_had_written(path: Path) -> None:
    for _ in range(3):
        with running(
            [sys.executable, "-c", WRITER, path], cwd=TREE, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            written = [int(writer.stdout.readline()) for _ in range(200)][-1]
            writer.kill()
            rest = writer.stdout.read().split()
            written = int(rest[-1]) if rest else written
        with open_for_writing(path) as db:
            row = db.listing(0, (), count=1)[0]
            assert row["state"] == CUT and row["duration_s"] >= written
            assert row["waits"]["game"]["count"] >= written
            assert len(db.one(row["id"], 0, ())["timeline"]) >= written
    whole = sqlite3.connect(path)
    assert whole.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    whole.close()

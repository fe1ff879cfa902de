# SPDX-License-Identifier: GPL-2.0-or-later
"""sessions.db: records of sessions and their timelines, by sqlite3. One writer, the supervisor.

Write-ahead logging, synced when the log is moved into the database: at the end of a session. Until then nothing waits
for the disk. What a killed supervisor has written stays; a power cut costs commits, not the database. Raises
SessionError for everything that sqlite3 raises.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from scx_gamer.sessions import SessionError
from scx_gamer.sessions.record import CUT, MAX_TEXT, RUNNING, STATES, Session, parse
from scx_gamer.system.closing import Closing
from scx_gamer.system.text import printable

log = logging.getLogger(__name__)

# One step for each version of the schema, the newest last. A step that was released never changes.
MIGRATIONS = (
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        uid INTEGER NOT NULL, game TEXT NOT NULL, app_id TEXT NOT NULL, profile TEXT NOT NULL,
        began INTEGER NOT NULL, duration_s REAL NOT NULL, state TEXT NOT NULL, figures TEXT NOT NULL
    );
    CREATE INDEX sessions_of ON sessions (uid, id)
    """,
    """
    CREATE TABLE samples (
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE, at_s REAL NOT NULL,
        game_cpu REAL, others_cpu REAL, wait_p99_us REAL, wait_max_us REAL, others_p99_us REAL,
        frames INTEGER, frame_mean_ms REAL, frame_p99_ms REAL, frame_max_ms REAL, missed INTEGER,
        PRIMARY KEY (session, at_s)
    ) WITHOUT ROWID
    """,
    "ALTER TABLE samples ADD COLUMN taken_ms REAL; ALTER TABLE samples ADD COLUMN taken_by TEXT",
)
VERSION = len(MIGRATIONS)
MAX_ROWS = 20  # records of one answer, which takes 4 ms
MAX_SAMPLES = 4320  # of one session: a day
_BUSY_S = 0.05  # somebody else has the database locked, such as root with sqlite3
_PAGE = 1024  # bytes: a write logs whole pages
# Bytes of the log, six hours and more, from which on a session does not end first.
_MAX_LOG = 8 << 20
_COLUMNS = ("id", "uid", "game", "app_id", "profile", "began", "duration_s", "state", "figures")
_BROKEN = ("malformed", "not a database", "encrypted")


class Sample(NamedTuple):
    """The seconds of a timeline up to `at_s` after the beginning of the session; None where nothing was measured."""

    at_s: float
    game_cpu: float | None  # CPUs' worth of time
    others_cpu: float | None
    wait_p99_us: float | None  # of the game and what it waits for
    wait_max_us: float | None
    others_p99_us: float | None
    frames: int | None = None
    frame_mean_ms: float | None = None
    frame_p99_ms: float | None = None
    frame_max_ms: float | None = None
    missed: int | None = None
    taken_ms: float | None = None  # CPU time that other programs had while the game waited for it
    taken_by: str | None = None  # the program that had most of it


# Fields of a sample by the schema of a database; 0 has no schema yet.
_FIELDS: tuple[tuple[str, ...], ...] = ((), (), Sample._fields[:-2], Sample._fields)


class Database(Closing):
    """An open database; `create` makes or upgrades it, else it is only read."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path, self._writes = path, create
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            if create:
                os.close(os.open(path, flags, 0o600))  # its log and index files take over the mode
        except OSError as err:
            raise SessionError(f"cannot open {path}: {err.strerror}", err.errno or 0) from err
        with _translated(path):
            # nothing is cached beyond this: no statement is kept, and the pages are few
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S,
                isolation_level=None, cached_statements=8,
            )  # fmt: skip
        try:
            with _translated(path):
                self._set_up()
        except SessionError:
            self._db.close()
            raise

    def _set_up(self) -> None:
        self._db.execute("PRAGMA trusted_schema = OFF")
        self._db.execute("PRAGMA cache_size = -256")
        version = self._version()
        if version > VERSION:
            raise SessionError(
                f"{self._path} has schema {version}: this scx-gamer knows {VERSION}",
                hint="it was made by a newer version; move it away to begin a new one",
            )
        if not self._writes:
            return
        self._db.execute("PRAGMA synchronous = OFF")
        if version == 0:
            self._db.execute(f"PRAGMA page_size = {_PAGE}")
            self._db.execute("PRAGMA auto_vacuum = FULL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        self._db.execute("PRAGMA foreign_keys = ON")
        for number in range(version, VERSION):
            with self._transaction():
                for statement in MIGRATIONS[number].split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number + 1}")
        if 0 < version < VERSION:
            log.info("%s: schema %d is now %d", self._path, version, VERSION)

    def _version(self) -> int:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version < 0:  # 32 bits of the file's header, which sqlite does not check
            raise sqlite3.DatabaseError(f"malformed schema version {version}")
        return version

    def close(self) -> None:
        """Close it, with all that was written on the disk."""
        try:
            if self._writes:
                self._checkpoint()
        finally:
            with _translated(self._path):
                self._db.close()

    def _checkpoint(self) -> None:
        """Move the log into the database: the one time that waits for the disk."""
        with _translated(self._path):
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("PRAGMA synchronous = OFF")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all of a block or nothing."""
        with _translated(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    # ---- the writer ------------------------------------------------------------------------------

    def mark_cut(self) -> None:
        """Mark the sessions of an earlier writer as cut off: nobody will end them."""
        with self._transaction():
            self._db.execute("UPDATE sessions SET state = ? WHERE state = ?", (CUT, RUNNING))

    def write(self, rows: Iterable[tuple[Session, str, float, Sample | None]]) -> None:
        """Write sessions with state and duration in seconds, and a sample of each timeline. New ones get an id."""
        ids: list[tuple[Session, int, int]] = []
        with self._transaction():
            for session, state, duration_s, sample in rows:
                number = self._put(session, state, duration_s)
                taken = sample is not None and session.samples < MAX_SAMPLES
                if taken:
                    self._db.execute(
                        f"INSERT OR REPLACE INTO samples VALUES (?{', ?' * len(Sample._fields)})",
                        (number, *(sample or ())),
                    )
                ids.append((session, number, taken))
        if Path(f"{self._path}-wal").stat().st_size > _MAX_LOG:
            self._checkpoint()
        for session, number, samples in ids:  # not before it is certain
            session.id = number
            session.samples += samples

    def _put(self, session: Session, state: str, duration_s: float) -> int:
        figures = json.dumps(session.figures(), separators=(",", ":"))
        row = (printable(session.profile, MAX_TEXT), round(duration_s, 1), state, figures)
        if session.id:
            done = self._db.execute(
                "UPDATE sessions SET profile = ?, duration_s = ?, state = ?, figures = ? WHERE id = ?",
                (*row, session.id),
            )
            if done.rowcount:  # else the file was replaced
                return session.id
        return self._insert((session.uid, session.game, session.app_id, session.began, *row))

    def _insert(self, row: Sequence[object]) -> int:
        made = self._db.execute(
            "INSERT INTO sessions (uid, game, app_id, began, profile, duration_s, state, figures)"
            f" VALUES ({', '.join('?' * len(row))})",
            row,
        )
        return int(made.lastrowid or 0)

    def delete(self, session: int | None, uid: int) -> int:
        """Delete a session, or all for None, that ended and that the user owns; root owns all. Return the number."""
        own = "" if uid == 0 else " AND uid = ?"
        one = "" if session is None else " AND id = ?"
        values = [RUNNING, *([] if uid == 0 else [uid]), *([] if session is None else [session])]
        with self._transaction():
            done = self._db.execute(f"DELETE FROM sessions WHERE state != ?{own}{one}", values)
        return done.rowcount

    def prune(self, days: int, size: int, now: float | None = None) -> int:
        """Delete ended sessions older than `days`, then as many as keep the database below `size` bytes: the oldest of
        the user who has the most, so that nobody's games push out those of others. Return the number."""
        oldest = int((time.time() if now is None else now) - days * 86400)
        deleted = 0
        with self._transaction():
            done = self._db.execute(
                "DELETE FROM sessions WHERE state != ? AND began < ?", (RUNNING, oldest)
            )
            deleted += done.rowcount
            while self._used() > size:
                done = self._db.execute(
                    "DELETE FROM sessions WHERE id = (SELECT min(id) FROM sessions WHERE state != ? AND uid ="
                    " (SELECT uid FROM sessions WHERE state != ? GROUP BY uid ORDER BY count(*) DESC LIMIT 1))",
                    (RUNNING, RUNNING),
                )
                if not done.rowcount:
                    break
                deleted += done.rowcount
        return deleted

    def _used(self) -> int:
        pages, free, size = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    # ---- readers ---------------------------------------------------------------------------------

    def listing(
        self, uid: int, running: Collection[int], *, count: int, before: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the user's newest records, all users' for root, that are older than the id `before`."""
        wheres, values = [], []
        for where, value in (("uid = ?", uid or None), ("id < ?", before)):
            if value is not None:
                wheres.append(where)
                values.append(value)
        where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
        with _translated(self._path):
            rows = self._db.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM sessions{where} ORDER BY id DESC LIMIT ?",
                (*values, min(count, MAX_ROWS)),
            ).fetchall()
        found = []
        for row in rows:
            try:
                found.append(_record(row, running))
            except SessionError as err:  # the others are still of use
                log.warning("%s: %s", self._path, err)
        return found

    def one(self, session: int, uid: int, running: Collection[int]) -> dict[str, Any]:
        """Return a record of the user's, or anybody's for root, with its timeline. Raises SessionError."""
        with _translated(self._path):
            row = self._db.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM sessions WHERE id = ?", (session,)
            ).fetchone()
            if row is None or uid not in (0, row[1]):  # the ids of others are not told
                raise SessionError(
                    f"no session {session} of yours", hint="see `scx-gamer sessions list`"
                )
            # an older one is read as it is until the supervisor writes to it, which a newer one may do meanwhile
            fields = _FIELDS[min(self._version(), VERSION)]
            samples = (
                self._db.execute(
                    f"SELECT {', '.join(fields)} FROM samples WHERE session = ? ORDER BY at_s LIMIT ?",
                    (session, MAX_SAMPLES),
                ).fetchall()
                if fields
                else []
            )
        return _record(row, running) | {"timeline": [_sample(fields, row) for row in samples]}


def _record(row: Sequence[Any], running: Collection[int]) -> dict[str, Any]:
    """Return a row as the record that readers get. Raises SessionError."""
    found = dict(zip(_COLUMNS, row, strict=True))
    for name, kind in (
        ("game", str),
        ("app_id", str),
        ("profile", str),
        ("began", int),
        ("uid", int),
    ):
        if type(found[name]) is not kind:
            raise SessionError(f"session {row[0]}: {name} is malformed")
        if kind is str:
            found[name] = printable(found[name], MAX_TEXT)
    if _real(found["duration_s"]) is None or found["state"] not in STATES:
        raise SessionError(f"session {row[0]}: duration or state is malformed")
    if found["state"] == RUNNING and found["id"] not in running:
        found["state"] = CUT
    return found | parse(found.pop("figures"))


def _sample(fields: Sequence[str], row: Sequence[object]) -> dict[str, Any]:
    """Return a row of a timeline, with nothing in it that is neither a plain number nor a program's name."""
    found = dict.fromkeys(Sample._fields) | dict(zip(fields, map(_real, row), strict=True))
    if "taken_by" in fields and isinstance(name := row[fields.index("taken_by")], str):
        found["taken_by"] = printable(name, MAX_TEXT)
    return found


def _real(value: object) -> float | None:
    """Return a plain number, None for anything else."""
    good = isinstance(value, int | float) and 0 <= value < 1 << 63  # NaN compares false
    return value if good else None  # type: ignore[return-value]


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        raise SessionError(f"{path}: {printable(str(err), 200)}") from err
    # a text that is not UTF-8, a number of more than 64 bits
    except (UnicodeError, OverflowError) as err:
        raise SessionError(f"{path}: {type(err).__name__}") from err


def is_broken(error: SessionError) -> bool:
    """Return True if the file is no database that can be used again."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.DatabaseError) and any(w in str(cause) for w in _BROKEN)


def open_for_writing(path: Path) -> Database:
    """Open the database, or begin a new one and keep the broken one beside it. Raises SessionError."""
    try:
        return _usable(path)
    except SessionError as err:
        if not is_broken(err):
            raise
        log.error("%s; kept as %s.bad, a new one is begun", err, path.name)
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        path.replace(f"{path}.bad")
        return _usable(path)


def _usable(path: Path) -> Database:
    db = Database(path, create=True)
    try:
        db.mark_cut()
    except BaseException:
        db.close()
        raise
    return db

# SPDX-License-Identifier: GPL-2.0-or-later
"""The state that survives the supervisor: off, the generation, failures, and the end of the last run."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scx_gamer.system.files import write_atomic
from scx_gamer.system.paths import Paths

log = logging.getLogger(__name__)

_SCHEMA = 1
_MAX_FAILURES = 16
_MAX_FILE_BYTES = 256 * 1024
_MAX_GENERATION = (1 << 64) - 1


@dataclass(frozen=True)
class Failure:
    """A counted exit. `time_ns` is monotonic and means something in its own boot only."""

    boot_id: str
    time_ns: int
    kind: int
    reason: str


@dataclass(frozen=True)
class State:
    off: bool = False
    off_reason: str = ""
    generation: int = 0
    failures: tuple[Failure, ...] = ()
    fallback_boot: str = ""  # the boot in which the budget of failures ran out
    # Set while a supervisor runs; found at the start, it tells of an unclean end.
    running_boot: str = ""
    unclean_ends: int = 0
    profile: str = ""  # the user's choice

    def with_failure(self, failure: Failure) -> State:
        return replace(self, failures=(*self.failures, failure)[-_MAX_FAILURES:])


def _failure(entry: dict[str, Any]) -> Failure:
    found: list[Any] = [entry.get(key) for key in ("boot_id", "time_ns", "kind", "reason")]
    if [type(value) for value in found] != [str, int, int, str]:
        raise ValueError("a failure is malformed")
    return Failure(*found)


def _parse(text: bytes) -> State:
    """Parse a whole, sane state; raises ValueError for anything else."""
    raw: Any = json.loads(text)
    if not isinstance(raw, dict) or raw.get("schema") != _SCHEMA:
        raise ValueError(f"no state of schema {_SCHEMA}")
    shape = {
        "off": bool,
        "off_reason": str,
        "generation": int,
        "failures": list,
        "fallback_boot": str,
        "running_boot": str,
        "unclean_ends": int,
        "profile": str,
    }
    raw.setdefault("profile", "")  # older files have none
    for key, kind in shape.items():
        if type(raw.get(key)) is not kind:
            raise ValueError(f"{key} is missing or not {kind.__name__}")
    if not 0 <= raw["generation"] < _MAX_GENERATION or raw["unclean_ends"] < 0:
        raise ValueError("generation or unclean_ends is out of range")
    failures = []
    for entry in raw["failures"]:
        if not isinstance(entry, dict):
            raise ValueError("a failure is not an object")
        failures.append(_failure(entry))
    values = {key: raw[key] for key in shape if key != "failures"}
    return State(failures=tuple(failures[-_MAX_FAILURES:]), **values)


class StateStore:
    """state.json, with the generation once more in the runtime directory.

    The second copy covers a full disk: within one boot the generation never goes backwards, even
    if the state directory is not writable. A clean end that reached the disk removes the copy.
    """

    def __init__(self, paths: Paths) -> None:
        self._file = paths.state_file
        self._exits = paths.exits
        self._seen = paths.runtime / "generation"
        self._broken = False
        self.write_errors = 0
        self.state = State()

    def load(self) -> State:
        """Read the state; a file that is unusable is moved aside and replaced by the safe default."""
        try:
            with self._file.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
            if len(data) > _MAX_FILE_BYTES:
                raise ValueError("too long")
            state = _parse(data)
        except FileNotFoundError:
            state = State()
        except (OSError, ValueError, RecursionError) as err:
            state = self._recover(err)
        floor = max(state.generation, self._runtime_generation(), self._dumped_generation())
        self.state = replace(state, generation=floor)
        return self.state

    def _recover(self, err: Exception) -> State:
        aside = self._file.with_name(self._file.name + ".bad")
        try:
            self._file.replace(aside)
            where = f"kept as {aside}"
        except OSError as also:
            where = f"it could not be moved aside: {also.strerror}"
        log.error("%s is unusable (%s), %s; starting from defaults", self._file, err, where)
        # The lost generation is unknown. Seconds since 1970 are above any that restarts reach.
        return State(generation=int(time.time()))

    def _runtime_generation(self) -> int:
        try:
            text = self._seen.read_text(encoding="ascii")[:20]
        except (OSError, ValueError):
            return 0
        return int(text) if text.isdecimal() and int(text) < _MAX_GENERATION else 0

    def _dumped_generation(self) -> int:
        """Return the highest generation in the names of exit dumps: <generation>-<kind>.json."""
        best = 0
        try:
            names = [entry.name for entry in self._exits.iterdir()]
        except OSError:
            return 0
        for name in names:
            number = name.split("-")[0]
            if number.isdecimal() and len(number) <= 20 and int(number) < _MAX_GENERATION:
                best = max(best, int(number))
        return best

    def save(self, **changes: Any) -> bool:
        """Change fields and write them; False if the write failed, in which case the change holds in memory."""
        before = self.state
        self.state = replace(self.state, **changes)
        if self.state.generation < before.generation:
            self.state = before
            raise ValueError("the generation must not go backwards")
        data = json.dumps({"schema": _SCHEMA, **asdict(self.state)}, indent=1).encode()
        written = True
        if self.state.generation != before.generation:
            number = str(self.state.generation).encode()
            written = self._write(self._seen, number, sync=False)
        written = self._write(self._file, data, sync=True) and written
        if written and before.running_boot and not self.state.running_boot:
            self._remove_copy()
        return written

    def _remove_copy(self) -> None:
        try:
            self._seen.unlink(missing_ok=True)
        except OSError as err:
            log.warning("cannot remove %s: %s", self._seen, err.strerror)

    def _write(self, path: Path, data: bytes, *, sync: bool) -> bool:
        try:
            write_atomic(path, data, 0o644, sync=sync)
        except OSError as err:
            self.write_errors += 1
            if not self._broken:
                log.error("cannot write %s: %s; state is kept in memory", path, err.strerror)
            self._broken = True
            return False
        self._broken = False
        return True

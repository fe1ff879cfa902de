# SPDX-License-Identifier: GPL-2.0-or-later
"""report: one archive with what a bug report needs, and nothing personal."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_gamer import __version__, control, doctor
from scx_gamer.config.settings import ConfigError, load
from scx_gamer.doctor.redact import Redactor
from scx_gamer.scheduler import sysfs
from scx_gamer.system import child
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.paths import paths

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import GameFacts, SnapshotBody, StatusBody

UNIT = "scx-gamer.service"
_JOURNAL_LINES = 1000
_JOURNAL_S = 20
_MAX_BYTES = 1 << 20  # of each file
_MAX_EXITS = 10
_PACKAGES = ("dbus-next", "evdev", "prometheus-client", "pyudev", "rich", "typer")

CONTENTS = """\
What a scx-gamer report holds:
  versions.json  scx-gamer, Python, its packages, libbpf, kernel, distribution
  doctor.json    what `scx-gamer doctor --json` answers
  status.json    what `scx-gamer status --json` answers, of a running supervisor
  metrics.txt    what `scx-gamer metrics` answers, of a running supervisor
  state.json     what the supervisor remembers over a restart
  exits/         why the kernel ended the scheduler, the newest 10
  config/        the configuration files that were read
  journal.txt    the newest 1000 lines of the unit's journal of this boot
  missing.txt    what of these could not be had, and why
What is taken out of all of them:
  users' names and home folders, the machine's name, machine and boot ids, network and hardware addresses,
  the names of games, now and earlier, of input devices, of what has its traffic limited, and in what the kernel
  wrote the names of processes other than its own
What is never read: the environment and the command line of any process, key presses, files other than those above
"""


class ReportError(ScxGamerError):
    """The archive could not be written."""

    separator = "; "


def write(target: Path | None = None) -> Path:
    """Write the archive, which only its owner may read, and return its path. Raises ReportError."""
    target = target or Path(time.strftime("scx-gamer-report-%Y%m%d-%H%M%S.tar.gz"))
    files = gather()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(target, flags, 0o600)
    except OSError as err:
        hint = "choose another name with --output"
        raise ReportError(f"cannot write {target}: {err.strerror}", err.errno or 0, hint) from err
    try:
        with os.fdopen(fd, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, text in files.items():
                data = text.encode()
                info = tarfile.TarInfo(f"scx-gamer-report/{name}")
                info.size, info.mtime, info.mode = len(data), int(time.time()), 0o644
                archive.addfile(info, io.BytesIO(data))
    except OSError as err:
        target.unlink(missing_ok=True)
        hint = "see whether the disk is full"
        raise ReportError(f"cannot write {target}: {err.strerror}", err.errno or 0, hint) from err
    return target


def gather() -> dict[str, str]:
    """Return the redacted texts by their names in the archive."""
    hide = Redactor.of_this_machine()
    missing: list[str] = []
    found: dict[str, str] = {}

    def take(name: str, get: Callable[[], str]) -> None:
        try:
            found[name] = get()
        except (OSError, ValueError, control.ControlError, ConfigError) as err:
            missing.append(f"{name}: {err}")
        except (KeyError, TypeError) as err:  # a supervisor of another version
            missing.append(f"{name}: the supervisor's answer lacks {err}")

    snapshot: SnapshotBody = {}

    def status() -> str:
        snapshot.update(control.request("snapshot"))
        hide.hide(_game_names(snapshot), "game")
        hide.hide(_targets(snapshot), "target")
        body = control.request("status")
        body["games"] = [_anonymous(game) for game in body.get("games", ())]
        return _json(body)

    def metrics() -> str:
        from scx_gamer.metrics import text_of

        if not snapshot:
            raise ValueError("no supervisor answers")
        return text_of(snapshot)

    take("status.json", status)
    take("metrics.txt", metrics)
    take("versions.json", lambda: _json(versions()))
    take("doctor.json", lambda: _json(doctor.examine().as_dict()))
    take("state.json", lambda: _read(paths().state_file))
    _exits(found, missing, hide)
    _configuration(found, missing)
    take("journal.txt", lambda: hide.tasks(hide.learn(journal())))
    for name, text in found.items():  # a name that one of them tells is hidden in all
        if name == "status.json" or name.startswith("exits/"):
            hide.learn(text)
    found["missing.txt"] = "".join(f"{line}\n" for line in missing) or "nothing\n"
    found = {name: hide(text) for name, text in found.items()}
    return {"README.txt": CONTENTS, **found}


def _game_names(snapshot: StatusBody) -> list[str]:
    """Return every text of the games' entries but the reason, which is ours."""
    return [
        value
        for game in snapshot.get("games", ())
        for key, value in game.items()
        if isinstance(value, str) and key not in ("reason", "rule")
    ]


def _targets(snapshot: Any) -> list[str]:
    """Return names of programs, units and cgroups whose traffic is or was to be limited."""
    network = snapshot.get("network") or {}
    rows = [*network.get("limits", ()), *network.get("wishes", ())]
    return [str(row[key]) for row in rows for key in ("cgroup", "target") if key in row]


def _anonymous(game: GameFacts) -> dict[str, Any]:
    """Return the part of a game's entry that a bug report needs: numbers, the rule, a stand-in for the name."""
    kept = {k: v for k, v in game.items() if isinstance(v, int | float | bool)}
    return kept | {key: game[key] for key in ("comm", "rule") if key in game}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, default=str) + "\n"


def _read(path: Path) -> str:
    """Return a file, or the newest part of a long one: its end."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_BYTES:
            file.seek(size - _MAX_BYTES)
        return file.read(_MAX_BYTES).decode("utf-8", "replace")


def _exits(found: dict[str, str], missing: list[str], hide: Redactor) -> None:
    try:
        newest = sorted(paths().exits.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in newest[-_MAX_EXITS:]:
            body = json.loads(_read(path))
            status: Any = (body.get("context") or {}).get("status") or {}
            hide.hide(_game_names(status), "game")
            hide.hide(_targets(status), "target")
            if "games" in status:
                status["games"] = [_anonymous(game) for game in status["games"]]
            ended = body.get("exit") or {}
            for key in ("reason", "message", "dump"):
                ended[key] = hide.tasks(str(ended.get(key, "")))
            found[f"exits/{path.name}"] = _json(body)
    except (OSError, ValueError, AttributeError, TypeError) as err:
        missing.append(f"exits/: {err}")


def _configuration(found: dict[str, str], missing: list[str]) -> None:
    try:
        files = load().files
    except ConfigError as err:  # the very files may be the bug
        missing.append(f"config/: {err}")
        files = tuple(sorted(p for p in paths().config.rglob("*.toml") if p.is_file()))
    for number, path in enumerate(files):
        try:
            found[f"config/{number}-{path.name}"] = f"# {path}\n{_read(path)}"
        except OSError as err:
            missing.append(f"config/{path.name}: {err}")


def versions() -> dict[str, object]:
    """Return versions of the running system."""
    from scx_gamer.libbpf import LibbpfTooOld
    from scx_gamer.libbpf._native import native, version_of

    try:
        libbpf = ".".join(map(str, version_of(native().path)))
    except LibbpfTooOld as err:
        libbpf = str(err)
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "missing"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return {
        "scx_gamer": __version__,
        "python": sys.version.split()[0],
        "packages": packages,
        "libbpf": libbpf,
        "kernel": platform.release(),
        "kernel_build": platform.version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "sched_ext": sysfs.state() or "none",
        "scheduler": sysfs.loaded(),
        "distribution": {k: release.get(k, "") for k in ("ID", "VERSION_ID", "VARIANT_ID")},
    }


def journal() -> str:
    """Return the unit's lines of this boot. Raises OSError or ValueError."""
    argv = ["journalctl", "--no-pager", "--no-hostname", "-q", "-b", "-o", "short-monotonic",
            "-n", str(_JOURNAL_LINES), "-u", UNIT]  # fmt: skip
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=_JOURNAL_S, check=False, stdin=subprocess.DEVNULL,
            cwd="/", env=child.environment(),
        )  # fmt: skip
    except FileNotFoundError:
        raise ValueError("this system has no journal") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"journalctl did not answer in {_JOURNAL_S} s") from None
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip() or "journalctl failed")
    return done.stdout.decode(errors="replace") or "no line\n"

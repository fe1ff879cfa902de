# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: exit codes, one line for each error, nothing imported that is not needed."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from scx_gamer.cli import app, errors, main
from scx_gamer.cli.commands import COMMANDS, Command, parse
from scx_gamer.config.settings import ConfigError
from scx_gamer.control import ControlError
from scx_gamer.libbpf import BpfError, LibbpfTooOld

TOP = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME", "STATE", "CONFIG"):
        monkeypatch.setenv(f"SCX_GAMER_{name}_DIR", str(tmp_path / name))


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def imported_by(args: list[str]) -> set[str]:
    """Modules that a command leaves imported, besides those of the interpreter's start."""
    out = python(
        "import sys; before = {*sys.modules}; from scx_gamer.cli import main\n"
        f"main({args!r}); print(*{{*sys.modules}} - before, sep='\\n')"
    )
    return set(out.splitlines())


@pytest.mark.parametrize("args", [["version"], ["--version"]])
def test_version_is_light(args: list[str]) -> None:
    assert not imported_by(args) & {"typer", "json", "socket", "ctypes", "prometheus_client"}


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--mode", "always"],  # to where the kernel or the lock refuses
        ["status", "--mangohud"],
        ["status"],
        ["start"],
        ["agent"],
        ["exec", "--", "/absent/command"],
    ],
)
def test_what_runs_beside_a_game_starts_without_typer(args: list[str]) -> None:
    assert not imported_by(args) & {"typer", "click", "pydantic", "rich"}


@pytest.mark.parametrize("args", [["status"], ["stop"], ["status", "--json"]])
def test_one_request_starts_without_what_it_does_not_use(args: list[str]) -> None:
    """Each of these costs a tenth of the start or more."""
    assert not imported_by(args) & {"logging", "dataclasses", "inspect", "dbus_next"}


@pytest.mark.parametrize("args", [["run", "--help"], ["exec", "-h"], ["status", "--absent"]])
def test_help_and_errors_of_those_are_typers(args: list[str]) -> None:
    assert "typer" in imported_by(args)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_both_ways_of_a_command_take_the_same(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """Typer, built from the table, and the start-up path give the same values to the same function."""
    got: list[dict[str, object]] = []

    def call(_self: Command, **values: object) -> int:
        got.append(values)
        return 0

    monkeypatch.setattr(Command, "call", call)
    words = ["--", "game", "--json", "--help"] if command.words else []
    lines = [[command.name, *words]]
    for option in command.options:
        value = ["x"] if option.takes_value else []
        lines.append([command.name, option.flag, *value])
        if value:
            lines.append([command.name, f"{option.flag}=x"])
    for line in lines:
        found = parse(line)
        assert found is not None
        assert app.run(line) == 0
        assert got.pop() == found[1], line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_function_of_each_command_takes_its_options(command: Command) -> None:
    module, _, name = command.function.partition(":")
    function = getattr(importlib.import_module(f"scx_gamer.cli.{module}"), name)
    wanted = {option.name for option in command.options} | ({"command"} if command.words else set())
    assert set(inspect.signature(function).parameters) == wanted


def test_devices_never_touches_bpf() -> None:
    seen = imported_by(["devices"])
    assert "typer" in seen
    heavy = {
        "scx_gamer.libbpf",
        "ctypes",
        "prometheus_client",
        "scx_gamer.service.supervisor",
        "evdev",
    }
    assert not seen & heavy


def test_devices_json_is_what_scan_finds(capsys: pytest.CaptureFixture[str]) -> None:
    from scx_gamer.input import scan_devices

    assert main(["devices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["number"] for entry in found] == [info.number for info in scan_devices()]


def test_devices_takes_path_and_rate_from_a_supervisor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scx_gamer import input as room
    from scx_gamer.input import DeviceInfo, Kind, Lane

    info = DeviceInfo(
        3, "/dev/input/event3", "m", Kind.MOUSE, Lane.MOUSE, None, None, True,
        ids="fefe:0001", reason="capabilities",
    )  # fmt: skip
    monkeypatch.setattr(room, "scan_devices", lambda overrides: [info])
    answering(monkeypatch, [{"number": 3, "path": "kernel", "rate_hz": 999.7, "grabbed": True}])
    assert main(["devices"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^3 +/dev/input/event3 +mouse +mouse +capabilities +kernel +1000/s +grabbed +fefe:0001 +m$",
        out,
        re.MULTILINE,
    )


@pytest.mark.parametrize(("readers", "state"), [(0, "no reader"), (1, "-")])
def test_devices_tells_that_nobody_but_the_supervisor_reads(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    readers: int,
    state: str,
) -> None:
    from scx_gamer import input as room
    from scx_gamer.input import DeviceInfo, Kind, Lane, holders
    from scx_gamer.input.classify import Lanes

    info = DeviceInfo(
        3, "/dev/input/event3", "m", Kind.MOUSE, Lane.MOUSE, None, None, True,
        Lanes.all_of(Lane.MOUSE), "fefe:0001",
    )  # fmt: skip
    asked: list[int] = []

    def counted(nodes: set[str], *, but: int) -> dict[str, int]:
        asked.append(but)
        return dict.fromkeys(nodes, readers)

    monkeypatch.setattr(room, "scan_devices", lambda overrides: [info])
    monkeypatch.setattr(holders, "holders", counted)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    answering(monkeypatch, {"pid": 77})
    assert main(["devices"]) == 0
    assert re.search(rf" {state} +fefe:0001 +m$", capsys.readouterr().out, re.MULTILINE)
    assert asked == [77]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ([], 2, "Usage"),
        (["staus"], 2, "staus"),
        (["run", "--mode", "fast"], 2, "auto or always"),
        (["run", "--config", "/absent"], 78, "--config"),
        (["games", "add", "x"], 2, "pid"),
        (["games", "add", "0"], 2, "pid"),
        (["exec"], 2, "command"),
        (["status"], 3, "not running"),
        (["stop"], 3, "not running"),
        (["metrics"], 3, "not running"),
        (["games", "list"], 3, "not running"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], args: list[str], code: int, says: str
) -> None:
    assert main(args) == code
    err = capsys.readouterr().err
    assert (
        says.lower() in err.lower()
    )  # how an argument is written differs between versions of typer
    if args:
        assert len(err.splitlines()) == 1
        assert err.startswith("scx-gamer: ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("f:1", "bad", "mend it"), 78),
        (ControlError("not running", 3), 3),
        (ControlError("root only", 77), 77),
        (LibbpfTooOld("too old"), 69),
        (BpfError("load", 1), 77),
        (PermissionError(13, "denied"), 77),
        (FileNotFoundError(2, "gone"), 1),
        (ZeroDivisionError("bug"), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_code_of_each_error(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    assert errors.report(error) == code
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_a_bug_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(op: str, *, timeout_s: float) -> None:
        raise RuntimeError(f"line one of {op}\nline two \x1b[2J")

    monkeypatch.setattr(control, "request", broken)
    assert main(["status"]) == 70
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err
    assert "internal error: RuntimeError: line one of snapshot" in err


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[str, dict[str, Any]]]:
    asked: list[tuple[str, dict[str, Any]]] = []

    def request(op: str, *, timeout_s: float, **args: Any) -> Any:
        asked.append((op, args))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(control, "request", request)
    return asked


def test_status_shows_names_made_safe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {
        "state": "attached",
        "games": [{"comm": "x"}],
        "loop": {"passes": 3},
        "cause": "\x1b[2J",
    }
    answering(monkeypatch, answer)
    assert main(["status", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "loop.passes:" in out
    assert main(["status", "--json"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out) == answer


@pytest.mark.parametrize("op", ["start", "stop", "restart"])
def test_verbs_ask_and_show_the_state(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], op: str
) -> None:
    asked = answering(monkeypatch, {"state": "idle"})
    assert main([op]) == 0
    assert asked == [(op, {})]
    assert capsys.readouterr().out == "idle\n"


def test_games_list_of_a_hostile_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, [{"pid": 7, "comm": "a\nb\x1b]0;x\x07"}])
    assert main(["games", "list"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m scx_gamer doctor | head -c1 >/dev/null",
        shell=True,
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr

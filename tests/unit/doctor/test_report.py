# SPDX-License-Identifier: GPL-2.0-or-later
"""report: opens, holds what it lists, and none of the planted personal data."""

from __future__ import annotations

import json
import platform
import pwd
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from scx_gamer.cli import main
from scx_gamer.control import ControlError
from scx_gamer.doctor import report
from scx_gamer.doctor.redact import Redactor
from scx_gamer.system import child
from tests.unit.metrics.test_metrics import snapshot as recorded

HOST = "battlestation"
PERSON = "maxine"
GAME = "SecretGame.exe"
PERSONAL = {
    PERSON: "a user's name",
    "Mustermann": "a user's full name",
    HOST: "the machine's name",
    GAME: "a game",
    "Older Secret": "a game that ended",
    "oldersecret": "its program",
    "Annas Board": "a device",
    "app-hiddentorrent": "a program whose traffic is limited",
    "2001:db8::17": "a short address",
    "fe80::1": "a link's address",
    "2001:DB8:0:0::A": "an address in capitals",
    "Web Content": "another process",
    "firefox": "another process",
    "192.168.17.4": "an address",
    "2001:db8:1:2:3:4:5:6": "an address",
    "aa:bb:cc:dd:ee:01": "a hardware address",
    "0c97f1ba-6d16-4d44-a5c3-8f1c1f5bd0ad": "the boot",
}
DUMP = """CPU 0   : nr_run=3 flags=0x1
          curr=firefox[1200] class=ext_sched_class
 *R Web Content[1201] -12ms
  R kworker/0:1[33] +0ms
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Personal data in every place that the report reads."""
    for name in ("run", "state", "etc"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("SCX_GAMER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SCX_GAMER_CONFIG_DIR", str(tmp_path / "etc"))
    monkeypatch.setenv("SUDO_USER", PERSON)
    user = pwd.struct_passwd((PERSON, "x", 1000, 1000, "Max Mustermann,,", f"/home/{PERSON}", "sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [user])
    monkeypatch.setattr(platform, "node", lambda: f"{HOST}.lan")
    (tmp_path / "etc/config.toml").write_text(
        f'# of {PERSON} on {HOST}, /home/{PERSON}/x, 192.168.17.4 2001:db8:1:2:3:4:5:6\nmode = "auto"\n'
    )
    # the archive's other files name the earlier game too
    state = {
        "schema": 1,
        "x": "Older Secret",
        "off": False,
        "running_boot": "0c97f1ba-6d16-4d44-a5c3-8f1c1f5bd0ad",
    }
    (tmp_path / "state/state.json").write_text(json.dumps(state))
    (tmp_path / "state/exits").mkdir()
    status = {"games": [{"pid": 5, "comm": GAME, "reason": "named"}]}
    exit_ = {
        "kind": 1026,
        "reason": "runnable task stall",
        "message": "Web Content[1201] failed to run for 5.001s",
        "dump": DUMP,
    }
    (tmp_path / "state/exits/7-stall.json").write_text(
        json.dumps({"exit": exit_, "context": {"status": status}})
    )
    (tmp_path / "bin").mkdir()
    journal = tmp_path / "bin/journalctl"
    journal.write_text(
        "#!/bin/sh\necho \"$@\" > " + str(tmp_path / "asked") + "\n"
        f"echo '[1.5] scx-gamer[77]: {GAME} of {PERSON} (firefox[1200]) aa:bb:cc:dd:ee:01'\n"
        "cat <<'END'\n"
        "[1.0] scx-gamer[77]: INFO scx_gamer.games.detector: game Older Secret (pid 9): rule wine: pid 9 runs"
        " oldersecret.exe in Wine\n"
        "[1.1] scx-gamer[77]: INFO scx_gamer.service.active_profile: profile x: exe oldersecret.exe"
        " of the game that runs\n"
        "[1.2] scx-gamer[77]: INFO scx_gamer.games.detector: game Older Secret (pid 9) ended\n"
        "[1.3] scx-gamer[77]: INFO scx_gamer.input.monitor: input3 Annas Board: keyboard, keyboard lane\n"
        "[1.4] scx-gamer[77]: INFO scx_gamer.netlimit.limiter: limited by the user: unit:app-hiddentorrent*\n"
        "[1.5] scx-gamer[77]: peers 2001:db8::17, [fe80::1%eth0]:22 and 2001:DB8:0:0::A. At 12:30:05.\n"
        "END\n"
    )  # fmt: skip
    journal.chmod(0o755)
    monkeypatch.setattr(child, "SEARCH_PATH", f"{tmp_path / 'bin'}:{child.SEARCH_PATH}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    game = {
        "pid": 5,
        "comm": GAME,
        "exe": f"/home/{PERSON}/{GAME}",
        "reason": "named",
        "processes": 2,
    }
    body = {**recorded(), "games": [game], "cause": f"{GAME} runs"}
    monkeypatch.setattr(control, "request", lambda op, **_args: json.loads(json.dumps(body)))


def opened(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            assert member.isfile()
            assert member.uname == member.gname == ""
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("scx-gamer-report/")] = file.read().decode()
    return found


def test_the_archive_holds_what_it_lists_and_nothing_personal(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch)
    assert main(["report", "--output", "r.tar.gz"]) == 0
    assert capsys.readouterr().out == "r.tar.gz\n"
    assert (machine / "r.tar.gz").stat().st_mode & 0o777 == 0o600
    files = opened(machine / "r.tar.gz")
    names = {name.split("/")[0] for name in files}
    listed = set(re.findall(r"^  (\w+(?:\.\w+|/)) ", report.CONTENTS, re.MULTILINE))
    listed = {name.rstrip("/") for name in listed}
    assert names - {"README.txt"} == listed
    assert files["missing.txt"] == "nothing\n"
    for name, text in files.items():
        for word, what in PERSONAL.items():
            assert word not in text, f"{what} is in {name}: {text}"
    status = json.loads(files["status.json"])
    assert status["games"] == [{"pid": 5, "processes": 2, "comm": "game-1"}]
    assert status["cause"] == "game-1 runs"
    assert "scx_gamer_state" in files["metrics.txt"]
    ended = json.loads(files["exits/7-stall.json"])["exit"]
    assert ended["message"] == "task-1[1201] failed to run for 5.001s"
    assert "*R task-1[1201]" in ended["dump"]
    assert "kworker/0:1[33]" in ended["dump"]
    assert "scx-gamer[77]: game-1 of USER (task-2[1200])" in files["journal.txt"]
    asked = (machine / "asked").read_text()
    assert "--no-hostname" in asked and "-u scx-gamer.service" in asked


def test_without_a_supervisor_it_says_what_is_missing(machine: Path) -> None:
    (machine / "state/state.json").unlink()
    path = report.write(Path("r.tar.gz"))
    files = opened(path)
    missing = files["missing.txt"]
    assert "status.json: the supervisor is not running" in missing
    assert "metrics.txt:" in missing and "state.json:" in missing
    assert "doctor.json" in files


def test_a_bad_configuration_is_in_it(machine: Path) -> None:
    (machine / "etc/config.toml").write_text("mode = 3\n")
    files = opened(report.write(Path("r.tar.gz")))
    assert "mode = 3" in files["config/0-config.toml"]
    assert "config/:" in files["missing.txt"]


def test_nothing_is_overwritten(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "r.tar.gz").write_text("precious")
    assert main(["report", "--output", "r.tar.gz"]) == 1
    assert (machine / "r.tar.gz").read_text() == "precious"
    err = capsys.readouterr().err
    assert "--output" in err and len(err.splitlines()) == 1


def test_list_writes_nothing(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(machine.rglob("*"))
    assert main(["report", "--list"]) == 0
    assert "doctor.json" in capsys.readouterr().out
    assert sorted(machine.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:9714", "127.0.0.1:9714"),
        ("10.0.0.7:80", "ADDRESS:80"),
        ("7.2.13+deb14", "7.2.13+deb14"),
        ("/var/home/bob/.local", "/var/home/USER/.local"),
        ("12:30:05.123", "12:30:05.123"),
        ("annabel and anna", "annabel and USER"),
        ("fe80:0:0:0:1:2:3:4", "ADDRESS"),
        ("from 2001:db8::1.", "from ADDRESS."),
        ("[fe80::1%wlan0]:22", "[ADDRESS]:22"),
        ("2a00:1450:4001:81b::200e/64", "ADDRESS/64"),
        ("::ffff:192.168.1.7", "ADDRESS"),
        ("::1 and [::]:9714", "::1 and [::]:9714"),
        ("scx_gamer::x std::abs", "scx_gamer::x std::abs"),
        ("aa-bb-cc-dd-ee-ff", "ADDRESS"),
        ("1.2.3.4.5", "1.2.3.4.5"),
    ],
)
def test_what_is_taken_out(text: str, wanted: str) -> None:
    assert Redactor({"anna": "USER"})(text) == wanted


def test_the_same_name_is_the_same_stand_in() -> None:
    hide = Redactor()
    hide.hide(["b", "a", "b"], "game")
    assert hide("a b") == "game-2 game-1"
    both: Any = hide.tasks("(x[1]) (y[2]) (x[3])")
    assert both == "(task-1[1]) (task-2[2]) (task-1[3])"


def test_no_answer_is_no_reason_to_fail(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(op: str, **_args: object) -> None:
        raise ControlError(f"no answer to {op} in 15 s")

    monkeypatch.setattr(control, "request", refuse)
    assert "no answer to snapshot" in opened(report.write(Path("r.tar.gz")))["missing.txt"]

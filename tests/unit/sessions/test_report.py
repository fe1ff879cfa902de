# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of a record and its page: true in every state, and nothing from outside is markup or loaded."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.cli import main
from scx_gamer.cli.sessions import flat
from scx_gamer.sessions import summary
from scx_gamer.sessions.report import html
from scx_gamer.system import exit_codes
from tests.unit.sessions.support import FRAMES, Source, made
from tests.unit.sessions.support import record as write

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=y>"


def one(frames: dict[str, Any] | None = None, *, attached: bool = True, **more: Any) -> Any:
    source = Source(attached=attached, frames=frames)
    session = made(source)
    if attached:
        source.wait("game", 40, 990)
        source.wait("game", 2900, 10)
        source.wait("normal", 9000, 100)
    source.time_s += 7980
    source.held_back = frozenset({"fossilize_replay", EVIL[:60]})
    session.advance(source.read())
    timeline: list[dict[str, Any]] = [
        {
            "at_s": 10.0 * n, "game_cpu": 1.5, "others_cpu": 0.5 * n, "wait_p99_us": 64.0,
            "wait_max_us": 64.0 * n or None, "others_p99_us": 4096.0, "frames": 1180,
            "frame_mean_ms": 8.4, "frame_p99_ms": 11.0 + n % 3, "frame_max_ms": 20.0, "missed": 1,
            "taken_ms": 3.0 * n, "taken_by": EVIL[:15] if n % 7 else "cc1plus",
        }
        for n in range(30)
    ]  # fmt: skip
    fixed = {
        "id": 3, "uid": 1000, "game": "Elden Ring", "app_id": "1245620", "profile": "auto", "began": 1_700_000_000,
        "duration_s": 7980.0, "state": "ended", "timeline": timeline,
    }  # fmt: skip
    return fixed | session.figures() | more


def test_the_sentence_of_a_player() -> None:
    assert summary.sentence(one(FRAMES, held_back=["fossilize_replay"])) == (
        "Elden Ring, 2 h 13 min: 99.8 % of frames on time, 99 % of waits for a CPU at most 64 us, the longest 2.9 ms;"
        " held back: fossilize_replay"
    )
    assert summary.sentence(one(attached=False, held_back=[])) == (
        "Elden Ring, 2 h 13 min: scx-gamer was off most of the time"
    )
    assert "and 2 more" in summary.sentence(one(held_back=["a", "b", "c", "d", "e"]))


PROGRAMS: dict[str, Any] = {
    "taken": {
        "game_s": 0.5, "others_s": 12.5,
        "programs": [{"program": "cc1plus", "s": 12.0, "times": 900, "longest_ms": 3.25},
                     {"program": "", "s": 0.5, "times": 2, "longest_ms": 0.5}],
    },
    "held": [{"program": "fossilize_replay", "waited_s": 62.0, "ran_s": 38.0, "longest_ms": 60.0},
             {"program": EVIL[:15], "waited_s": 1.0, "ran_s": 0.0, "longest_ms": 60.0}],
}  # fmt: skip


def test_who_took_the_cpu_and_who_was_held_back_by_how_much() -> None:
    found = one(FRAMES, held_back=["a", "fossilize_replay"], **PROGRAMS)
    assert summary.sentence(found).endswith(
        "; held back: fossilize_replay (it waited for 62 % of its time), a"
        "; cc1plus had its CPU for 12 s while it waited"
    )
    rows = dict(summary.rows(found))
    assert rows["taken"] == (
        "12.5 s of CPU time while the game waited: cc1plus 12 s (at once at most 3.25 ms),"
        " other programs 500 ms (at once at most 500 us); 500 ms by its own threads"
    )
    words = Page(html(found)).words
    assert "CPU time taken from the game" in words and "cc1plus, 63 ms in all" in words
    assert "Programs that were held back" in words
    row = flat(found)
    assert (row["taken_s"], row["taken_by"]) == (12.5, "cc1plus ")
    quiet = one(FRAMES, held_back=[], taken={"game_s": 0, "others_s": 0, "programs": []}, held=[])
    assert summary.sentence(quiet).endswith("the longest 2.9 ms")


def test_what_was_not_measured_is_not_shown() -> None:
    rows = dict(summary.rows(one(attached=False)))
    assert not {"frames", "on time", "power", "waits, game", "input to run"} & rows.keys()
    rows = dict(summary.rows(one(FRAMES, power={"source": "rapl", "joules": 90.0, "seconds": 2.0})))
    assert rows["power"] == "45.0 W, as rapl tells" and rows["1 % low"] == "90.5 fps"
    assert "GPU" not in rows
    for busy_s, text in (
        (29.0, "97 % busy, and sets the pace"),
        (27.0, "90 % busy, and sets the pace"),
        (12.0, "40 % busy, and waits for the game"),
    ):
        work = {"busy_s": busy_s, "seconds": 30.0, "jobs": 9}
        played = one(FRAMES, gpu=work)
        assert dict(summary.rows(played))["GPU"] == text
        assert flat(played)["gpu_busy"] == busy_s / 30


class Page(HTMLParser):
    """The tags and attributes of a page; tags that are not closed in order are an error."""

    VOID = ("meta", "line", "rect", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[tuple[str, str | None]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("record", [
    one(), one(FRAMES), one(FRAMES, **PROGRAMS), one(attached=False), one(timeline=[]), one(FRAMES, state="cut"),
])  # fmt: skip
def test_a_page_is_whole_and_loads_nothing(record: Any) -> None:
    text = html(record)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not [name for name, _ in page.values if name in ("src", "href", "onload")]
    assert not re.search(r"url\(|@import|https?:", text)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.values
    assert "prefers-color-scheme: dark" in text and "Elden Ring" in page.words
    assert ("1 % low" in page.words) is bool(record["frames"])


def test_words_from_outside_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = FRAMES | {"source": EVIL}
    text = html(one(frames, game=EVIL, profile=EVIL, app_id=EVIL, exits={EVIL: 1}))
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags
    assert EVIL in page.words and "&lt;script&gt;" in text


def test_a_peak_is_not_thinned_away() -> None:
    timeline = [dict(sample) for sample in one()["timeline"]] * 100
    for number, sample in enumerate(timeline):
        sample["at_s"] = 10.0 * number
        sample["wait_max_us"] = 10.0
    timeline[1234]["wait_max_us"] = 800_000.0
    text = html(one(timeline=timeline))
    assert "800 ms" in text and len(text) < 150_000
    assert re.search(r"[ML][\d.]+ 6\.0[LM\"]", text)  # the line reaches the top


def test_a_table_has_the_same_columns_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [flat(one()), flat(one(FRAMES)), flat(one(attached=False, game="=1+1"))]
    assert rows[0].keys() == rows[1].keys() == rows[2].keys()
    assert rows[2]["game"] == "'=1+1" and rows[1]["frames_low_1_fps"] == 90.5
    assert rows[1]["game_longest_us"] == 2900 and rows[2]["game_count"] is None


# ---- commands, as root while no supervisor runs ----------------------------------------------------


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("SCX_GAMER_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path / "sessions.db"


def test_commands(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions"]) == exit_codes.NOT_RUNNING
    write(database, 120, game="Doom")
    capsys.readouterr()
    assert main(["sessions", "list", "--count", "2"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "ID",
        "120",
        "119",
    ]
    assert main(["sessions"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 21
    assert main(["sessions", "show", "3"]) == 0
    assert "Doom, 1 min: 99 % of waits" in capsys.readouterr().out
    assert main(["sessions", "show", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["timeline"] == []
    assert main(["sessions", "compare", "3", "4"]) == 0
    assert "waits, game" in capsys.readouterr().out
    assert main(["sessions", "export", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 120 and rows[0]["game"] == "Doom" and rows[0]["id"] == "120"
    assert main(["sessions", "export", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 120
    assert main(["sessions", "report"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.name == "scx-gamer-session-120.html" and page.read_text().startswith("<!DOCTYPE")
    assert main(["sessions", "report"]) == exit_codes.FAILED  # it is there already
    assert main(["sessions", "delete", "3"]) == 0
    assert main(["sessions", "show", "3"]) == exit_codes.FAILED
    assert main(["sessions", "delete", "--all"]) == 0
    assert "119 sessions deleted" in capsys.readouterr().out
    assert main(["sessions"]) == 0
    assert "no sessions yet" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [
    ["show", "0"], ["show", "-1"], ["show", str(1 << 63)], ["show", "x"], ["delete"], ["delete", "1", "--all"],
    ["export"], ["export", "--csv", "--json"], ["list", "--count", "0"],
])  # fmt: skip
def test_wrong_arguments(database: Path, arguments: list[str]) -> None:
    write(database)
    assert main(["sessions", *arguments]) == exit_codes.USAGE

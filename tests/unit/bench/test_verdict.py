# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts of paired runs, comparison of MangoHud logs, and the report."""

import base64
import random
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scx_gamer.bench import mangohud, report
from scx_gamer.bench.cells import Cell, Quantiles
from scx_gamer.bench.pairs import Outcome
from scx_gamer.bench.verdict import judge, noise_of, paired, quantile
from scx_gamer.bench.workload import BenchError
from scx_gamer.cli.app import run

DRAW = random.Random(3)


def around(middle: float, spread: float, count: int = 8) -> list[float]:
    return [middle * (1 + DRAW.uniform(-spread, spread)) for _ in range(count)]


def test_a_real_difference_is_sure_and_has_a_direction() -> None:
    v = judge(
        "compile", "1 % low", "fps", around(31, 0.03), around(58, 0.03), larger_is_better=True
    )
    assert v.word == "sure"
    assert v.better
    assert str(v).startswith("with compile: 1 % low 3")
    worse = judge("x", "frame p99", "ms", around(7, 0.02), around(9, 0.02), larger_is_better=False)
    assert worse.word == "sure"
    assert not worse.better
    assert "worse" in str(worse)


def test_a_difference_inside_the_noise_is_refused() -> None:
    v = judge("x", "1 % low", "fps", around(50, 0.2), around(51, 0.2), larger_is_better=True)
    assert v.word.startswith("no difference beyond this machine's noise")
    assert not v.better


def test_too_few_pairs_are_refused() -> None:
    v = judge(
        "x", "1 % low", "fps", around(31, 0.01, 4), around(58, 0.01, 4), larger_is_better=True
    )
    assert v.word == "no verdict: 4 pairs, 5 are needed"


def test_same_against_same_is_seldom_sure() -> None:
    sure = sum(
        judge("x", "f", "u", around(50, 0.1), around(50, 0.1), larger_is_better=True).word == "sure"
        for _ in range(40)
    )
    assert sure <= 2


def test_the_interval_holds_the_change() -> None:
    interval = paired(around(100, 0.02, 12), around(110, 0.02, 12))
    assert interval.low <= interval.middle <= interval.high
    assert interval.low < 0.1 < interval.high + 0.02
    assert paired([1, 2, 3], [1, 2, 3]).sure is False


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="without and with differ"):
        paired([1.0], [])
    with pytest.raises(ValueError, match="two runs"):
        noise_of([1.0])
    assert quantile([5, 1, 3], 0.5) == 3
    assert noise_of([10, 10, 8]) == pytest.approx(0.2)


# ---- MangoHud ----


def hud_log(path: Path, times: list[float]) -> Path:
    head = "os,cpu,gpu,ram\nArch,x,y,16\nfps,frametime,cpu_load\n"
    path.write_text(head + "".join(f"{1000 / t:.3f},{t:.4f},50\n" for t in times))
    return path


def test_two_logs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calm = hud_log(tmp_path / "calm.csv", around(10, 0.05, 3000))
    rough = hud_log(
        tmp_path / "rough.csv", [t * (4 if i % 40 == 0 else 1) for i, t in enumerate(around(10, 0.05, 3000))]
    )  # fmt: skip
    assert run(["bench", "compare", str(rough), str(calm)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("B is better, sure")
    assert run(["bench", "compare", str(calm), str(calm)]) == 0
    assert "no difference beyond the noise" in capsys.readouterr().out


def test_what_is_no_log_is_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("hello\n")
    with pytest.raises(BenchError, match="not a MangoHud log"):
        mangohud.read(bad)
    with pytest.raises(BenchError, match="100 frames"):
        mangohud.read(hud_log(bad, around(10, 0.1, 100)))
    with pytest.raises(BenchError, match="No such file"):
        mangohud.read(tmp_path / "none.csv")
    with hud_log(bad, around(10, 0.1, 700)).open("a") as log:
        log.write("60,abc,1\n")
    with pytest.raises(BenchError, match="line 704: 'abc' is not a frame time"):
        mangohud.read(bad)
    assert run(["bench", "compare", "one.csv"]) == 2


# ---- the page ----


def outcome(load: str) -> Outcome:
    q = Quantiles(7000, 9000, 12000, 20000)
    links = {"vsync": 900.0, "input": 1900.0, "render": 400.0}
    cell = Cell(load, "few", "default", 4, False, 0.6, q, q, 44.0, 100.0, None, 0, links)
    ours = replace(
        cell, scheduler="scx_gamer", low1_fps=59.0, links_p99_us={k: v / 50 for k, v in links.items()}
    )  # fmt: skip
    return Outcome(load, (cell,) * 5, (ours,) * 5)


def test_a_report_without_matplotlib_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchError, match="needs matplotlib: install it"):
        report.write(tmp_path / "report.html", [outcome("hogs-2")])


def test_a_page_holds_its_plots(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report.write(page, [outcome("none"), outcome("hogs-2")])
    text = page.read_text()
    assert "with hogs-2: 1 % low 44.0 -&gt; 59.0 fps" in text
    images = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", text)]
    assert len(images) == 3
    assert all(image.startswith(b"\x89PNG") and len(image) > 5000 for image in images)


def test_an_outcome_has_its_verdicts_as_json() -> None:
    answer = outcome("hogs-2").json()
    assert answer["verdicts"][0]["line"].startswith("with hogs-2: 1 % low 44.0 -> 59.0 fps")
    assert len(answer["without"]) == len(answer["with"]) == 5

# SPDX-License-Identifier: GPL-2.0-or-later
"""The alerts fire when they must, as Prometheus' own tool evaluates them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packages.conftest import TOP, run

RULES = TOP / "packaging/prometheus/scx-gamer.rules.yml"
LABELS = 'instance="a",job="scx-gamer"'
# Alert, series with their values each minute, and whether it fires after five of them.
CASES = [
    ("ScxGamerDown", {"up{%s}": "0x9"}, True),
    ("ScxGamerDown", {"up{%s}": "1x9"}, False),
    ("ScxGamerDown", {}, True),
    ("ScxGamerGameWithoutScheduler", {"game_active{%s}": "1x9", "enabled{%s}": "0x9"}, True),
    ("ScxGamerGameWithoutScheduler", {"game_active{%s}": "1x9", "enabled{%s}": "1x9"}, False),
    ("ScxGamerGameWithoutScheduler", {"game_active{%s}": "0x9", "enabled{%s}": "0x9"}, False),
    (
        "ScxGamerGameWithoutScheduler",
        {"game_active{%s}": "1x9", "enabled{%s}": "0x9", 'state{state="off",%s}': "1x9"},
        False,
    ),
]


@pytest.mark.parametrize(("alert", "series", "fires"), CASES)
def test_alert(alert: str, series: dict[str, str], fires: bool, tmp_path: Path) -> None:
    lines = [f"rule_files: [{RULES}]", "tests:", "- interval: 1m", "  input_series:"]
    for name, values in series.items():
        full = (name if name.startswith("up") else f"scx_gamer_{name}") % LABELS
        first = values.partition("x")[0]
        lines += [f"  - series: '{full}'", f"    values: '{first}+0x9'"]
    if not series:
        lines[-1] += " []"
    names = f"count(ALERTS{{alertname='{alert}',alertstate='firing'}}) or vector(0)"
    lines += ["  promql_expr_test:", f'  - expr: "{names}"', "    eval_time: 5m"]
    lines += ["    exp_samples:", f"    - value: {int(fires)}"]
    (tmp_path / "t.yml").write_text("\n".join(lines) + "\n")
    run("promtool", "test", "rules", tmp_path / "t.yml")

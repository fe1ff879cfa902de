# SPDX-License-Identifier: GPL-2.0-or-later
"""Dashboard and alerts name what is exported, and all of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scx_gamer.metrics import PREFIX, SPECS, STANDARD
from scx_gamer.scheduler.exits import KIND_NAMES
from scx_gamer.scheduler.machine import State

PACKAGING = Path(__file__).parents[3] / "packaging"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def exported() -> set[str]:
    return {
        prefix + name + end
        for prefix, specs in ((PREFIX, SPECS), ("", STANDARD))
        for name, spec in specs.items()
        for end in SUFFIXES[spec.kind]
    }


def named(text: str) -> set[str]:
    return set(re.findall(rf"\b(?:{PREFIX}|process_)\w+", text))


def test_dashboard_is_what_its_generator_writes() -> None:
    folder = PACKAGING / "grafana"
    made = subprocess.run(
        [sys.executable, str(folder / "generate.py")], capture_output=True, text=True, check=True
    )
    assert made.stdout == (folder / "scx-gamer.json").read_text(), (
        "run packaging/grafana/generate.py"
    )


def test_dashboard_shows_every_metric_and_no_other() -> None:
    panels = json.loads((PACKAGING / "grafana/scx-gamer.json").read_text())["panels"]
    shown = named(" ".join(t["expr"] for p in panels for t in p.get("targets", ())))
    assert shown <= exported(), shown - exported()
    missing = [
        n
        for n, s in SPECS.items()
        if not {PREFIX + n + e for e in SUFFIXES[s.kind]} & shown and "Old name" not in s.help
    ]
    assert not missing


def test_alerts_name_what_is_exported_and_say_what_to_do() -> None:
    text = (PACKAGING / "prometheus/scx-gamer.rules.yml").read_text()
    used = named(" ".join(re.findall(r"expr: (.*)", text)))
    assert used and used <= exported(), used - exported()
    assert text.count("alert:") == text.count("summary:") == text.count("description:")
    page = (PACKAGING.parent / "docs/alerts.md").read_text()
    alerts = re.findall(r"alert: (\w+)", text)
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == alerts
    urls = re.findall(r"runbook_url: \S+/(docs/\S+)#(\S+)$", text, re.MULTILINE)
    assert urls == [("docs/alerts.md", name.lower()) for name in alerts]


def matchers(text: str) -> Iterator[tuple[str, str, str]]:
    """Metric, label and value of each condition; a pattern gives one for each of its words."""
    for metric, conditions in re.findall(r"(\w+)\{([^}]*)\}", text):
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', conditions):
            for word in value.split("|") if operator == "=~" else (value,):
                yield metric, label, word


def test_labels_and_their_values_are_those_of_the_metrics() -> None:
    labels = {
        prefix + name + end: {*spec.labels, *(["le"] if end == "_bucket" else ())}
        for prefix, specs in ((PREFIX, SPECS), ("", STANDARD))
        for name, spec in specs.items()
        for end in SUFFIXES[spec.kind]
    }
    known = {
        "state": set(State),
        "kind": KIND_NAMES,
        "result": {"ok", "busy", "failed", "unsupported"},
        "class": {"normal", "game", "critical", "background", "kthread"},
    }
    panels = json.loads((PACKAGING / "grafana/scx-gamer.json").read_text())["panels"]
    targets = [target for panel in panels for target in panel.get("targets", ())]
    rules = (PACKAGING / "prometheus/scx-gamer.rules.yml").read_text()
    seen = set()
    for text in (*(t["expr"] for t in targets), *re.findall(r"expr: (.*)", rules)):
        for metric, label, word in matchers(text):
            if metric in labels and label not in ("instance", "job"):
                assert label in labels[metric] and word in known[label], (text, label, word)
                seen.add(label)
        of_all = set().union(*(labels[name] for name in named(text) if name in labels))
        for group in re.findall(r"\bby \(([^)]*)\)", text):
            assert {one.strip() for one in group.split(",")} - {""} <= of_all, text
    assert seen == known.keys()
    for target in targets:
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert used <= set().union(*(labels[name] for name in named(target["expr"]))), target


def test_the_main_promise_has_a_panel() -> None:
    panels = json.loads((PACKAGING / "grafana/scx-gamer.json").read_text())["panels"]
    shown = [
        [t["expr"] for t in panel["targets"]]
        for panel in panels
        if panel["title"] == "Input to the first run of the game"
    ]
    assert len(shown) == 1
    assert all("histogram_quantile" in e and "input_to_run_seconds_bucket" in e for e in shown[0])


def test_the_first_row_says_how_it_is() -> None:
    """State, game, waits of the game and of others, boosts and errors, before anything else."""
    body = json.loads((PACKAGING / "grafana/scx-gamer.json").read_text())
    panels = body["panels"]
    first = [p for p in panels if p["gridPos"]["y"] <= 1 and p["type"] != "row"]
    assert [p["type"] for p in first] == ["stat"] * len(first) and len(first) == 6
    assert sum(p["gridPos"]["w"] for p in first) == 24
    assert {"state-timeline", "heatmap"} <= {p["type"] for p in panels}
    assert {v["name"] for v in body["templating"]["list"]} == {"datasource", "instance"}
    assert all("$instance" in t["expr"] for p in panels for t in p.get("targets", ()))
    expressions = [a["expr"] for a in body["annotations"]["list"]]
    assert any("attaches_total" in e for e in expressions) and any(
        "exits_total" in e for e in expressions
    )

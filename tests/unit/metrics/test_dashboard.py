# SPDX-License-Identifier: GPL-2.0-only
"""Dashboard and alerts name what is exported, and all of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from scx_gamer.metrics import PREFIX, SPECS

PACKAGING = Path(__file__).parents[3] / "packaging"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def exported() -> set[str]:
    return {PREFIX + name + end for name, spec in SPECS.items() for end in SUFFIXES[spec.kind]}


def named(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}\w+", text))


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
        n for n, s in SPECS.items() if not {PREFIX + n + e for e in SUFFIXES[s.kind]} & shown
    ]
    assert not missing


def test_alerts_name_what_is_exported_and_say_what_to_do() -> None:
    text = (PACKAGING / "prometheus/scx-gamer.rules.yml").read_text()
    used = named(" ".join(re.findall(r"expr: (.*)", text)))
    assert used and used <= exported(), used - exported()
    assert text.count("alert:") == text.count("summary:") == text.count("description:")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the dashboard: packaging/grafana/generate.py > packaging/grafana/scx-gamer.json

Panels are one line each here; the JSON is what Grafana imports. A test holds the two together.
"""

from __future__ import annotations

import json
import sys
from typing import Any

P = "scx_gamer_"
STANDARD = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
}


HERE = 'instance=~"$instance"'  # the machines that are chosen above


def g(metric: str, label: str = "") -> str:
    """The metric of the machines chosen; those of every process have no prefix."""
    prefix = "" if metric.startswith("process_") and metric in STANDARD else P
    return f"{prefix}{metric}{{{f'{label},' if label else ''}{HERE}}}"


def rate(metric: str, by: str = "", label: str = "") -> str:
    inner = f"rate({g(metric, label)}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else inner


def quantile(metric: str, share: str, by: str = "", label: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', labels, label)})"


ERRORS = 'kind=~"error|error_bpf|stall|other"'
# Title, unit, legend and expression; one line to read before all else.
FIRST: list[tuple[str, str, str, str]] = [
    ("State", "short", "{{state}}", f"{g('state')} == 1"),
    ("Games", "short", "games", f"sum({g('games')})"),
    ("Wait of the game, p99", "s", "game", quantile("wait_seconds", "0.99", label='class="game"')),
    ("Wait of others, p99", "s", "others", quantile("wait_seconds", "0.99", label='class!="game"')),
    ("Boosts", "ops", "windows", f"sum({rate('windows_opened_total')})"),
    ("Errors in an hour", "short", "errors",
     f"sum(increase({g('exits_total', ERRORS)}[1h]))"),
]  # fmt: skip


# Row, then panels: title, unit, (legend, expression) ...
ROWS: dict[str, list[tuple[str, str, list[tuple[str, str]]]]] = {
    "What it does": [
        ("State", "short", [("{{state}}", f"{g('state')} == 1"), ("{{mode}} mode", g("mode"))]),
        ("Versions", "short", [("{{version}}", g("build_info")), ("{{release}}", g("kernel_info"))]),
        ("Kernel", "short", [("enabled", g("enabled")), ("another scheduler", g("foreign_scheduler")),
                             ("generation", g("generation"))]),
        ("Games", "short", [("games", g("games")), ("active", g("game_active"))]),
        ("Attaches and ends", "short", [("attach {{result}}", g("attaches_total")), ("exit {{kind}}", g("exits_total")),
                                        ("restarts", g("restarts_total")), ("unclean ends", g("unclean_ends")),
                                        ("sleeps", g("sleeps_total"))]),
        ("Since, and until", "s", [("up", g("uptime_seconds")), ("retry in", g("retry_seconds")),
                                   ("of the process", f"time() - {g('process_start_time_seconds')}")]),
        ("Profile", "short", [("{{profile}}", g("profile")), ("changes", g("profile_changes_total")),
                              ("errors", g("profile_errors")), ("reload {{result}}", g("profile_reloads_total")),
                              ("disabled", g("profiles_disabled"))]),
        ("Tunables", "short", [("{{tunable}}", g("tunable"))]),
    ],
    "Frames of the game": [
        ("Frames a second", "short", [("{{source}}", g("game_fps"))]),
        ("Frame time", "s", [("p50", quantile("game_frame_seconds", "0.5")),
                             ("p99", quantile("game_frame_seconds", "0.99")),
                             ("p99.9", quantile("game_frame_seconds", "0.999"))]),
        ("GPU at work for it", "percentunit", [("busy", g("game_gpu_busy_ratio"))]),
        ("Jobs of the GPU for it", "ops", [("jobs", f"{g('game_gpu_jobs')} / 10")]),
    ],
    "How long tasks wait": [
        ("Runnable wait, p50", "s", [("{{class}}", quantile("wait_seconds", "0.5", "class"))]),
        ("Runnable wait, p99", "s", [("{{class}}", quantile("wait_seconds", "0.99", "class"))]),
        ("Longest wait", "s", [("{{class}}", g("wait_max_seconds"))]),
        ("Oldest queued task", "s", [("now", g("oldest_wait_seconds")), ("largest", g("oldest_wait_max_seconds"))]),
        ("Queued tasks", "short", [("queued", g("queued"))]),
        ("Live tasks", "short", [("{{class}}", g("tasks"))]),
    ],
    "Who runs": [
        ("CPUs used", "short", [("{{class}}", rate("run_seconds_total", "class"))]),
        ("Starts", "ops", [("{{class}}", rate("runs_total", "class"))]),
        ("Into a queue", "ops", [("{{class}}", rate("enqueues_total", "class"))]),
        ("Onto an idle CPU", "ops", [("{{class}}", rate("idle_inserts_total", "class"))]),
        ("Migrations", "ops", [("{{class}}", rate("migrations_total", "class"))]),
        ("Preempting kicks", "ops", [("{{class}}", rate("preempt_kicks_total", "class"))]),
        ("Decisions", "ops", [("slices cut", rate("slice_cuts_total")), ("kept running", rate("keep_running_total")),
                              ("stolen", rate("steals_total")), ("boosted", rate("boosted_total"))]),
        ("In step with a clock", "ops", [("urgent", rate("urgent_total")), ("refused", rate("urgent_refused_total"))]),
        ("Kept free for the game", "short", [("CPUs", rate("shield_seconds_total")),
                                             ("tasks taken off", rate("shield_kicks_total"))]),
        ("Where the game runs", "short", [("home, CPUs", rate("game_home_seconds_total")),
                                          ("elsewhere, CPUs", rate("game_away_seconds_total")),
                                          ("moved home", rate("home_moves_total"))]),
        ("Waits for a quota", "short", [("tasks", rate("quota_held_seconds_total")),
                                        ("begun", rate("quota_holds_total"))]),
        ("Places lent to holders of locks", "ops", [("lent", rate("lock_lends_total"))]),
        ("Contexts", "short", [("missing", g("context_missing_total")), ("reset", g("context_resets_total"))]),
    ],
    "Input": [
        ("Input to the first run of the game", "s", [
            ("p50", quantile("input_to_run_seconds", "0.5")), ("p99", quantile("input_to_run_seconds", "0.99"))]),
        ("Reports", "ops", [("{{lane}}, {{path}}", rate("input_events_total"))]),
        ("Windows opened", "ops", [("{{lane}}", rate("windows_opened_total"))]),
        ("Path", "short", [("{{path}}", f"{g('input_path')} == 1")]),
        ("Event to window, evdev path", "s", [("newest", g("input_delay_seconds")),
                                              ("longest", g("input_delay_max_seconds"))]),
        ("Devices", "short", [("{{lane}}", g("input_devices")), ("held", g("input_held"))]),
        ("Work", "ops", [("{{kind}}", rate("input_work_total"))]),
    ],
    "Games and processes": [
        ("Games found", "short", [("{{rule}}", g("detections_total"))]),
        ("Exec to class", "s", [("p50", quantile("exec_to_class_seconds", "0.5")),
                                ("p99", quantile("exec_to_class_seconds", "0.99")),
                                ("longest", g("exec_to_class_max_seconds"))]),
        ("Processes by class", "short", [("{{class}}", g("processes_classed"))]),
        ("Process events", "ops", [("{{event}}", rate("process_events_total")), ("told", rate("execs_told_total"))]),
        ("Source", "short", [("{{source}}", f"{g('process_source')} == 1")]),
        ("Looks at all of /proc", "short", [("looks", g("reconciles_total")), ("losses", g("process_losses_total"))]),
        ("Hints", "short", [("{{kind}}", g("hints_total")), ("session, {{result}}", g("session_hints_total"))]),
        ("Threads by role", "short", [("{{role}}", g("threads_by_role"))]),
    ],
    "Background traffic": [
        ("Rate", "Bps", [("{{direction}}, {{verdict}}", rate("network_bytes_total"))]),
        ("Packets", "ops", [("{{direction}}, {{verdict}}", rate("network_packets_total"))]),
        ("Limits", "short", [("limited cgroups", g("network_limits")), ("refused", g("network_refusals_total"))]),
        ("Left behind", "short", [("now", g("network_orphans")), ("ever", g("network_orphaned_total")),
                                  ("of an earlier life", g("network_leftovers"))]),
    ],
    "Between kernel and supervisor": [
        ("Messages", "ops", [("{{type}}", rate("messages_total"))]),
        ("Messages refused, lost, waiting", "short", [
            ("refused {{reason}}", g("messages_refused_total")), ("lost {{type}}", g("messages_lost_total")),
            ("waiting", g("messages_waiting")), ("ring full", g("control_ring_full_total"))]),
        ("Events", "ops", [("{{type}}", rate("events_total"))]),
        ("Events refused, failed, lost", "short", [
            ("refused {{reason}}", g("events_refused_total")), ("failed", g("event_handler_failures_total")),
            ("lost, {{side}}", g("ring_lost_total"))]),
        ("Effects", "short", [("on", g("effects")), ("times off", g("effects_off_total")),
                              ("timer errno", g("timer_error")), ("hook {{hook}}", g("hook_loaded"))]),
        ("Timer", "ops", [("ticks", rate("timer_ticks_total"))]),
        ("What the kernel counts", "ops", [("{{event}}", rate("kernel_events_total"))]),
        ("Enabled, rejected", "short", [("enabled", g("kernel_enable_seq_total")),
                                        ("rejected", g("kernel_rejected_total"))]),
    ],
    "What it costs": [
        ("Time in BPF programs", "percentunit", [("{{program}}", rate("program_seconds_total"))]),
        ("Runs of BPF programs", "ops", [("{{program}}", rate("program_runs_total"))]),
        ("CPU of the supervisor", "percentunit", [("CPU", rate("process_cpu_seconds_total"))]),
        ("Memory", "bytes", [("resident", g("process_resident_memory_bytes"))]),
        ("Descriptors and threads", "short", [("descriptors", g("process_open_fds")),
                                              ("threads", g("process_threads"))]),
        ("Event loop", "s", [("lag", g("loop_lag_seconds")), ("largest lag", g("loop_lag_max_seconds")),
                             ("longest pass", g("loop_pass_max_seconds"))]),
        ("Passes", "ops", [("passes", rate("loop_passes_total"))]),
        ("Scrape", "s", [("scrape", g("scrape_seconds"))]),
        ("Bus", "short", [("connected", g("bus_connected")), ("{{result}}", g("bus_calls_total")),
                          ("over budget", g("bus_over_budget_total")), ("holds", g("bus_holds")),
                          ("units held", g("units_held"))]),
        ("Sessions", "short", [("recorded", g("sessions_total")), ("failed writes", g("session_write_errors_total"))]),
    ],
}  # fmt: skip


Panel = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Panels that are better seen otherwise than as lines.
KINDS = {"State": "state-timeline"}


def panel(
    number: int,
    kind: str,
    title: str,
    place: dict[str, int],
    unit: str,
    queries: list[tuple[str, str]],
) -> Panel:
    targets = [
        {"refId": chr(65 + n), "expr": expr, "legendFormat": legend, "instant": kind == "stat"}
        for n, (legend, expr) in enumerate(queries)
    ]
    made = {
        "id": number, "type": kind, "title": title, "gridPos": place, "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []}, "targets": targets,
    }  # fmt: skip
    if kind == "stat":
        name = title == "State"
        made["options"] = {
            "textMode": "name" if name else "value",
            "colorMode": "value",
            "graphMode": "none",
        }
    if kind == "heatmap":
        made["options"] = {
            "calculate": False,
            "yAxis": {"unit": unit},
            "color": {"scheme": "Oranges"},
        }
        for target in targets:
            target["format"] = "heatmap"
    return made


def annotation(name: str, color: str, expr: str, text: str) -> Panel:
    return {
        "name": name, "datasource": SOURCE, "enable": True, "iconColor": color, "expr": expr,
        "titleFormat": name, "textFormat": text, "step": "15s",
    }  # fmt: skip


def dashboard() -> dict[str, Any]:
    panels: list[Panel] = []
    for n, (title, unit, legend, expr) in enumerate(FIRST):
        place = {"x": 4 * n, "y": 0, "w": 4, "h": 4}
        panels.append(panel(len(panels) + 1, "stat", title, place, unit, [(legend, expr)]))
    y = 4
    waits = rate("wait_seconds_bucket", "le", 'class="game"')
    place = {"x": 0, "y": y, "w": 24, "h": 8}
    panels.append(
        panel(len(panels) + 1, "heatmap", "Waits of the game", place, "s", [("{{le}}", waits)])
    )
    y += 8
    for row, members in ROWS.items():
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row, "collapsed": False, "panels": [],
             "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )  # fmt: skip
        y += 1
        for number, (title, unit, queries) in enumerate(members):
            place = {"x": 8 * (number % 3), "y": y + 7 * (number // 3), "w": 8, "h": 7}
            kind = KINDS.get(title, "timeseries")
            panels.append(panel(len(panels) + 1, kind, title, place, unit, queries))
        y += 7 * (-(-len(members) // 3))
    source = {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
    }
    instance = {
        "name": "instance", "type": "query", "label": "Machine", "datasource": SOURCE, "multi": True,
        "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "refresh": 2,
        "query": f"label_values({P}build_info, instance)",
    }  # fmt: skip
    ok = 'result="ok"'
    attached = f"increase({g('attaches_total', ok)}[1m]) > 0"
    ended = f"increase({g('exits_total')}[1m]) > 0"
    return {
        "title": "scx_gamer",
        "uid": "scx-gamer",
        "schemaVersion": 39,
        "tags": ["scheduler", "games"],
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "annotations": {
            "list": [
                annotation("attached", "green", attached, "{{instance}}"),
                annotation("ended", "red", ended, "{{kind}} on {{instance}}"),
            ]
        },
        "templating": {"list": [source, instance]},
        "panels": panels,
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1)
    print()

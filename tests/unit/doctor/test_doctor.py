# SPDX-License-Identifier: GPL-2.0-or-later
"""doctor: each finding says what to do; the gravest decides the exit status."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scx_gamer import control, doctor
from scx_gamer.doctor import (
    Finding,
    Report,
    conflicts,
    kernel,
    machine,
    ours,
    privileges,
    programs,
)
from scx_gamer.libbpf import BpfError
from scx_gamer.scheduler import sysfs
from scx_gamer.scheduler.machine import State
from tests.processes import running

TOP = Path(__file__).resolve().parents[3]
GOOD = """
CONFIG_SCHED_CLASS_EXT=y
CONFIG_BPF_SYSCALL=y
CONFIG_BPF_JIT=y
CONFIG_DEBUG_INFO_BTF=y
"""


def test_missing_options() -> None:
    assert kernel.missing_options(GOOD) == []
    text = GOOD.replace("CONFIG_SCHED_CLASS_EXT=y", "# CONFIG_SCHED_CLASS_EXT is not set")
    assert kernel.missing_options(text) == ["CONFIG_SCHED_CLASS_EXT"]
    assert kernel.missing_options("CONFIG_BPF_JIT=yes") == [*kernel._OPTIONS]


def test_the_gravest_failure_is_the_exit_status() -> None:
    permission = Finding("fail", "a", "b", "c", 77)
    unsupported = Finding("fail", "a", "b", "c", 69)
    warning = Finding("warn", "a", "b", "c", 78)
    assert Report(()).exit_code == 0
    assert Report((warning,)).exit_code == 0
    assert Report((permission, warning)).exit_code == 77
    assert Report((permission, unsupported)).exit_code == 69


def test_renicers_are_found_by_name(tmp_path: Path) -> None:
    for pid, comm in (("10", "ananicy-cpp\n"), ("11", "system76-schedu\n"), ("12", "bash\n")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(comm)
    (tmp_path / "13").mkdir()  # ended between the two reads
    found = list(conflicts.renicers(tmp_path))
    assert [finding.what.split()[0] for finding in found] == ["ananicy-cpp", "system76-scheduler"]
    assert all(finding.level == "warn" and finding.to_do for finding in found)


def test_another_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "loaded", lambda: "scx_other\x1b")
    (found,) = conflicts.other_scheduler()
    assert (found.level, found.code) == ("fail", 77)
    assert "scx_other\\x1b is loaded" in found.what


def test_a_bad_configuration_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("mode = 3\n")
    monkeypatch.setenv("SCX_GAMER_CONFIG_DIR", str(tmp_path))
    (found,) = ours.configuration()
    assert (found.level, found.code) == ("fail", 78)
    assert "config.toml:1: mode is 3" in found.what


def test_a_check_that_breaks_is_a_finding() -> None:
    def hooks() -> Iterator[Finding]:
        raise BpfError("no object", 2, hint="run make bpf")

    checks = (machine.file_watch, hooks, machine.bcc)
    found = {finding.check: finding for finding in doctor.examine(checks).findings}
    assert len(found) == 3
    assert found["hooks"].level == "warn"
    assert "run make bpf" in found["hooks"].what


def test_the_gravest_comes_first_after_a_summary() -> None:
    found = [
        Finding(level, level + number, "x", "y", 69)
        for number in "12"
        for level in ("ok", "warn", "fail", "info")
    ]
    report = Report(tuple(found))
    assert [f.check for f in report.findings] == [
        "fail1", "fail2", "warn1", "warn2", "info1", "info2", "ok1", "ok2",
    ]  # fmt: skip
    assert report.summary.startswith("scx-gamer does not work here: fail1, and 1 more;")
    assert report.as_dict()["summary"] == report.summary
    warned = Report(tuple(f for f in found if f.level != "fail"))
    assert warned.summary.startswith("scx-gamer works here, 2 part(s)")


def test_a_kernel_without_sched_ext_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler cannot load and an option is not set: both are that same cause."""
    place = Path("/boot/config")
    monkeypatch.setattr(sysfs, "unsupported", lambda: "no /sys/kernel/sched_ext")
    monkeypatch.setattr(kernel, "configuration", lambda: (place, ["CONFIG_SCHED_CLASS_EXT"]))
    checks = (kernel.kernel, kernel.config_options, programs.scheduler, kernel.permissions)
    report = doctor.examine(checks)
    (failure,) = (f for f in report.findings if f.level == "fail")
    assert failure.check == "kernel" and "/boot/config does not set it" in failure.what
    assert report.summary.startswith("scx-gamer does not work here: kernel;")


class Refused:
    """An object that the kernel refuses."""

    def load(self) -> None:
        raise BpfError("loading x.bpf.o", errno.EPERM, log="no attach target")


def test_a_refusal_does_not_ask_root_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "missing_capabilities", list)
    (found,) = programs._tried(Refused(), "hook a", "seeing: ", "do this")  # type: ignore[arg-type]
    assert "as root" not in found.what and "[no attach target]" in found.what
    monkeypatch.setattr(programs, "missing_capabilities", lambda: ["CAP_BPF"])
    assert not list(programs._tried(Refused(), "hook a", "", ""))  # type: ignore[arg-type]


def test_everything_but_ok_says_what_to_do() -> None:
    for finding in doctor.examine().findings:
        assert finding.level in ("ok", "info", "warn", "fail")
        if finding.level == "fail":
            assert finding.to_do
            assert finding.code


def test_kfuncs_asked_about_are_used() -> None:
    compat = (TOP / "bpf/include/compat.h").read_text()
    assert all(name in compat for name in kernel._AUX_KFUNCS)


def file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def only(found: Iterator[Finding]) -> Finding:
    (finding,) = found
    assert finding.level == "ok" or finding.to_do
    return finding


def test_each_hook_says_what_it_is_for() -> None:
    source = "".join(path.read_text() for path in (TOP / "bpf/observe").glob("*.bpf.h"))
    known = set(re.findall(r"BPF_PROG\((\w+)", source)) | set(
        re.findall(r'SEC\("syscall"\)\s*int (\w+)\(', source)
    )
    assert known == set(programs._HOOKS)


def test_services_that_load_schedulers_are_named(tmp_path: Path) -> None:
    file(tmp_path / "10/comm", "scx_loader\n")
    file(tmp_path / "11/comm", "scx_gamer\n")
    assert "scx_loader runs" in only(conflicts.scheduler_services(tmp_path)).what


def test_lockdown(tmp_path: Path) -> None:
    assert not list(kernel.lockdown(tmp_path / "absent"))
    path = file(tmp_path / "lockdown", "none integrity [confidentiality]\n")
    assert (only(kernel.lockdown(path)).level, only(kernel.lockdown(path)).code) == ("fail", 69)
    assert only(kernel.lockdown(file(path, "none [integrity] confidentiality"))).level == "ok"


def test_unbounded_real_time(tmp_path: Path) -> None:
    path = file(tmp_path / "sys/kernel/sched_rt_runtime_us", "-1\n")
    assert only(machine.real_time(tmp_path)).level == "warn"
    file(path, "950000\n")
    assert only(machine.real_time(tmp_path)).level == "ok"


def test_isolated_cpus(tmp_path: Path) -> None:
    file(tmp_path / "isolated", "2-3\n")
    file(tmp_path / "nohz_full", "(null)\n")
    assert "isolated: 2-3" in only(machine.set_aside(tmp_path)).what


@pytest.mark.parametrize(
    ("driver", "name", "level"),
    [
        ("acpi-cpufreq", "powersave", "warn"),
        ("intel_pstate", "powersave", "ok"),
        ("amd-pstate-epp", "powersave", "ok"),
        ("acpi-cpufreq", "schedutil", "ok"),
    ],
)
def test_governor(tmp_path: Path, driver: str, name: str, level: str) -> None:
    file(tmp_path / "scaling_driver", driver + "\n")
    file(tmp_path / "scaling_governor", name + "\n")
    assert only(machine.governor(tmp_path)).level == level


@pytest.mark.parametrize(
    ("name", "level"), [("tsc", "ok"), ("kvm-clock", "ok"), ("hpet", "warn"), ("acpi_pm", "warn")]
)
def test_a_slow_clock_is_named(tmp_path: Path, name: str, level: str) -> None:
    file(tmp_path / "current_clocksource", name + "\n")
    found = only(machine.clocksource(tmp_path))
    assert found.level == level
    assert name in found.what


def cgroup(mount: Path, name: str, populated: int = 1, **values: str) -> None:
    file(mount / name / "cgroup.events", f"populated {populated}\nfrozen 0\n")
    for name_of, unset in {"max": "max 100000", "weight": "100", "idle": "0"}.items():
        file(mount / name / f"cpu.{name_of}", values.get(name_of, unset) + "\n")


NONE: frozenset[str] = frozenset()


def test_cpu_controls_that_have_no_effect_are_one_line(tmp_path: Path) -> None:
    cgroup(tmp_path, "app.slice")
    (tmp_path / "no-controller.scope").mkdir()
    assert only(machine.cpu_controls(tmp_path, NONE)).level == "ok"
    cgroup(tmp_path, "gone.service", populated=0, max="20000 100000")
    assert only(machine.cpu_controls(tmp_path, NONE)).level == "ok"
    cgroup(tmp_path, "app.slice/a\x1b.scope", weight="20")
    found = only(machine.cpu_controls(tmp_path, NONE))
    assert (found.level, "a\\x1b.scope (cpu.weight)" in found.what) == ("info", True)
    for number in range(4):
        cgroup(tmp_path, f"app.slice/b{number}.service", max="20000 100000", idle="1", weight="0")
    found = only(machine.cpu_controls(tmp_path, NONE))
    assert found.level == "warn"
    assert "b0.service (cpu.max, cpu.weight, cpu.idle)" in found.what
    assert "and 2 more" in found.what
    assert "b3" not in found.what


def test_cpu_controls_that_are_kept_say_for_whom(tmp_path: Path) -> None:
    cgroup(tmp_path, "a.service", max="20000 100000", weight="20", idle="1")
    cgroup(tmp_path, "b.service", max="20000 100000")
    kept = frozenset({"cpu.max", "cpu.weight"})
    found = {finding.check: finding for finding in machine.cpu_controls(tmp_path, kept)}
    assert found["cpu.max"].what == "bounds all but the game: a.service, b.service"
    assert found["cpu.weight"].what == "counts while no game runs: a.service"
    assert found["CPU controls"].what == "no effect while scx-gamer schedules: a.service (cpu.idle)"
    assert {finding.level for finding in found.values()} == {"info"}
    told = {
        finding.check: finding for finding in machine.cpu_controls(tmp_path, kept | {"cpu.idle"})
    }
    assert told["cpu.idle"].what == "comes after all others, as SCHED_IDLE does: a.service"
    assert "CPU controls" not in told
    found = {
        finding.check: finding
        for finding in machine.cpu_controls(tmp_path, frozenset({"cpu.weight"}))
    }
    assert found["CPU controls"].level == "warn"
    assert "a.service (cpu.max, cpu.idle), b.service (cpu.max)" in found["CPU controls"].what


def test_utilization_clamps_bound_the_frequency_only(tmp_path: Path) -> None:
    cgroup(tmp_path, "app.slice")
    file(tmp_path / "app.slice/cpu.uclamp.min", "0.00\n")
    file(tmp_path / "app.slice/cpu.uclamp.max", "max\n")
    assert list(machine.frequency_controls(tmp_path)) == []
    file(tmp_path / "app.slice/cpu.uclamp.max", "40.00\n")
    found = only(machine.frequency_controls(tmp_path))
    assert (found.level, "app.slice (cpu.uclamp.max)" in found.what) == ("info", True)


@pytest.mark.parametrize(("nice", "named"), [(0, False), (5, True), (-3, True), (10, False)])
def test_nice_values_without_effect(nice: int, named: bool) -> None:
    """Of a real process. One that has ended, and kernel threads, are passed over."""
    with running(["sleep", "60"]) as sleep:
        os.setpriority(os.PRIO_PROCESS, sleep.pid, nice)
        wait_for(lambda: Path(f"/proc/{sleep.pid}/comm").read_text() == "sleep\n")
        found = list(machine.nice_values([sleep.pid, 2**22]))
        assert [f"sleep ({nice})" in one.what for one in found] == [True] * named
        os.sched_setscheduler(sleep.pid, os.SCHED_IDLE, os.sched_param(0))
        assert not list(machine.nice_values([sleep.pid]))


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_crowd_of_cgroups_is_read_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_CGROUPS", 3)
    for number in range(5):
        cgroup(tmp_path, f"{number}.scope", weight="20")
    assert "2.scope" in (what := only(machine.cpu_controls(tmp_path)).what)
    assert "more" not in what


def test_statistics_cost(tmp_path: Path) -> None:
    path = file(tmp_path / "sys/kernel/bpf_stats_enabled", "1\n")
    assert only(machine.statistics(tmp_path)).level == "info"
    file(path, "0\n")
    assert only(machine.statistics(tmp_path)).level == "ok"


@pytest.mark.parametrize("state", [str(s) for s in State if str(s) != "unsupported"])
def test_each_state_of_the_supervisor(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    answer = {"state": state, "cause": "because"}
    monkeypatch.setattr(control, "request", lambda _op, **_args: answer)
    found = only(ours.supervisor())
    content = ("idle", "attached", "paused")  # paused: a comparison asked for it, and ends it
    assert found.level == ("ok" if state in content else "warn")
    assert "because" in found.what


@pytest.mark.parametrize(
    ("power", "level"),
    [({"held": "performance"}, "ok"), ({"held": "", "why": "no daemon\x1b"}, "info"), ({}, None)],
)
def test_the_power_profile_that_is_held(
    monkeypatch: pytest.MonkeyPatch, power: dict[str, str], level: str | None
) -> None:
    answer = {"state": "idle", "cause": "", "power": power}
    monkeypatch.setattr(control, "request", lambda _op, **_args: answer)
    found = [one for one in ours.supervisor() if one.check == "power profile"]
    assert [one.level for one in found] == ([level] if level else [])
    assert all(one.what.isprintable() for one in found)


@pytest.mark.parametrize(
    ("gpu", "level", "what"),
    [
        ({"why": "", "busy": 0.95, "jobs": 9}, "ok", "95 % busy, and sets the pace"),
        ({"why": "", "busy": 0.0, "jobs": 0}, "info", "not known: it had no job of the game"),
        ({"why": "no driver\x1b", "busy": 0.0, "jobs": 0}, "info", "not known: no driver\\x1b"),
    ],
)
def test_what_is_not_known_of_the_game_that_runs(
    monkeypatch: pytest.MonkeyPatch, gpu: dict[str, object], level: str, what: str
) -> None:
    answer = {
        "state": "attached", "cause": "", "games": [{}], "frames": {"gpu": gpu},
        "detection": {"threads_why": "on_drm_ioctl: no BTF\x1b"},
    }  # fmt: skip
    monkeypatch.setattr(control, "request", lambda _op, **_args: answer)
    found = [one for one in ours.supervisor() if one.check.startswith("game's")]
    assert [one.level for one in found] == ["info", level]
    assert found[0].what == "on_drm_ioctl: no BTF\\x1b" and found[1].what.startswith(what)
    answer |= {"games": []}
    assert not [one for one in ours.supervisor() if one.check.startswith("game's")]


def test_properties_that_are_held_or_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = {"unit": "user.slice\x1b", "property": "MemoryLow", "value": 5, "before": 0}
    answer = {"state": "idle", "cause": "", "resources": {"held": [row], "why": "denied\x1b"}}
    monkeypatch.setattr(control, "request", lambda _op, **_args: answer)
    found = [one for one in ours.supervisor() if one.check == "resources"]
    assert [(one.level, one.what) for one in found] == [
        ("ok", "MemoryLow=5 of user.slice\\x1b is held for the game"),
        ("info", "denied\\x1b"),
    ]
    monkeypatch.undo()
    for variable in ("SCX_GAMER_STATE_DIR", "SCX_GAMER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert only(ours.supervisor()).what == "not running"
    (tmp_path / "units.json").touch()
    assert [one.level for one in ours.supervisor()] == ["info", "warn"]


@pytest.mark.parametrize("why", ["no UPower\x1b", ""])
def test_an_unknown_power_source_is_named(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    answer = {"state": "idle", "cause": "", "power": {"source_why": why}}
    monkeypatch.setattr(control, "request", lambda _op, **_args: answer)
    found = [one for one in ours.supervisor() if one.check == "power source"]
    assert [one.what for one in found] == (["no UPower\\x1b"] if why else [])


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        ({"keep": True, "recorded": 3, "running": 1, "error": ""}, "ok", "3 recorded, 1 running"),
        ({"keep": False, "error": ""}, "info", "not recorded"),
        ({"keep": True, "error": "database or disk is full\x1b"}, "warn", "disk is full\\x1b"),
    ],
)
def test_sessions(facts: dict[str, object], level: str, said: str) -> None:
    found = only(ours.sessions({"sessions": facts}))
    assert found.level == level and said in found.what


def test_no_supervisor_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path))
    assert only(ours.supervisor()).level == "info"


def test_a_running_supervisor_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    status = {
        "state": "idle",
        "cause": "",
        "pid": os.getpid(),
        "profile": {"active": "fast", "disabled": {"other": "it failed"}},
        "sessions": {"keep": True, "recorded": 3, "running": 1, "error": ""},
    }

    def request(op: str, **_args: object) -> object:
        asked.append(op)
        return status

    monkeypatch.setattr(control, "request", request)
    checks = [c for c in doctor.CHECKS if c.__module__ in (ours.__name__, privileges.__name__)]
    found = {finding.check for finding in doctor.examine(checks).findings}
    assert asked == ["status"]
    assert found >= {"supervisor", "privileges", "profile", "sessions"}

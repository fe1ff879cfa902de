# SPDX-License-Identifier: GPL-2.0-or-later
"""A small Internet in network namespaces, cgroups to put programs into, and what is seen of them."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.cli import main
from scx_gamer.libbpf import Object, kernel
from scx_gamer.netlimit import programs
from scx_gamer.scheduler.store import State
from scx_gamer.system.procfs import boot_id
from tests.processes import end, running
from tests.vm.harness import Supervised, wait_until

TRAFFIC = Path(__file__).with_name("traffic.py")
ROOT = Path("/sys/fs/cgroup")
ROUTER, SERVER = "scxg-router", "scxg-server"
PUBLIC, PRIVATE, PUBLIC6, PRIVATE6 = "203.0.113.1", "10.99.0.1", "2001:db8:2::1", "fd00:99::1"
OURS = re.compile(r"scxg_(?:net|meter)_\w+")
PSCHED = "/proc/net/psched"  # there where the kernel can shape a link
INET6 = "/proc/net/if_inet6"


def run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def lines(text: str) -> None:
    """Run each line as a command; one that begins with `?` may fail."""
    for line in filter(None, map(str.strip, text.splitlines())):
        run(*line.lstrip("? ").split(), check=not line.startswith("?"))


class Internet:
    """This host, a router with the bottleneck, a server 24 ms away."""

    def __init__(self, stack: ExitStack) -> None:
        for module in ("veth", "sch_netem", "sch_tbf", "sch_fq"):
            run("modprobe", "-q", module, check=False)  # may be built in, or not be needed
        stack.callback(lines, f"? ip netns del {SERVER}\n? ip netns del {ROUTER}\n? ip link del h0")
        lines(f"""
            ip netns add {ROUTER}
            ip netns add {SERVER}
            ip link add h0 type veth peer name r0 netns {ROUTER}
            ip -n {ROUTER} link add r1 type veth peer name s0 netns {SERVER}
            ip addr add 198.51.100.1/24 dev h0
            ip -n {ROUTER} addr add 198.51.100.254/24 dev r0
            ip -n {ROUTER} addr add 203.0.113.254/24 dev r1
            ip -n {SERVER} addr add {PUBLIC}/24 dev s0
            ip -n {SERVER} addr add {PRIVATE}/32 dev s0
            ip link set h0 up
            ip -n {ROUTER} link set r0 up
            ip -n {ROUTER} link set r1 up
            ip -n {SERVER} link set s0 up
            ip route add 203.0.113.0/24 via 198.51.100.254
            ip route add {PRIVATE}/32 via 198.51.100.254
            ip -n {ROUTER} route add {PRIVATE}/32 via {PUBLIC}
            ip -n {SERVER} route add default via 203.0.113.254
            ip netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1
        """)
        if Path(INET6).exists():
            lines(f"""
                ip addr add 2001:db8:1::1/64 dev h0 nodad
                ip -n {ROUTER} addr add 2001:db8:1::fe/64 dev r0 nodad
                ip -n {ROUTER} addr add 2001:db8:2::fe/64 dev r1 nodad
                ip -n {SERVER} addr add {PUBLIC6}/64 dev s0 nodad
                ip -n {SERVER} addr add {PRIVATE6}/128 dev s0 nodad
                ip route add 2001:db8:2::/64 via 2001:db8:1::fe
                ip route add {PRIVATE6}/128 via 2001:db8:1::fe
                ip -n {ROUTER} route add {PRIVATE6}/128 via {PUBLIC6}
                ip -n {SERVER} route add default via 2001:db8:2::fe
                ip netns exec {ROUTER} sysctl -qw net.ipv6.conf.all.forwarding=1
            """)
        if Path(PSCHED).exists():
            lines(f"""
                tc -n {ROUTER} qdisc add dev r0 root tbf rate 20mbit burst 6kb latency 200ms
                tc -n {ROUTER} qdisc add dev r1 root tbf rate 10mbit burst 6kb latency 200ms
                tc -n {SERVER} qdisc add dev s0 root netem delay 24ms limit 4000
            """)
        else:
            # No emulated line. What would have cut long segments into packets, as any line does; and as nothing is
            # ever under way, TCP's waits of 40 and 200 ms, made for real lines, would be most of the time.
            lines(f"""
                ip -n {SERVER} link set s0 gso_max_segs 1
                ip route change 203.0.113.0/24 via 198.51.100.254 rto_min 5ms quickack 1
                ip route change {PRIVATE}/32 via 198.51.100.254 rto_min 5ms quickack 1
                ip -n {SERVER} route change default via 203.0.113.254 rto_min 5ms quickack 1
            """)
            if Path(INET6).exists():
                lines(f"""
                    ip route change 2001:db8:2::/64 via 2001:db8:1::fe rto_min 5ms quickack 1
                    ip -n {SERVER} route change default via 2001:db8:2::fe rto_min 5ms quickack 1
                """)
        for what in ("serve", "answer"):
            command = ["ip", "netns", "exec", SERVER, sys.executable, "-I", str(TRAFFIC), what]
            server = stack.enter_context(running(command, stdout=subprocess.PIPE))
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            server.stdout.close()


class Cgroup:
    """A cgroup of its own; what runs in it when it ends is killed."""

    def __init__(self, name: str, parent: Path = ROOT) -> None:
        self.folder = parent / name
        self.folder.mkdir()
        self.path = f"/{self.folder.relative_to(ROOT)}"
        self._started: list[subprocess.Popen[str]] = []
        self._stack = ExitStack()

    def start(self, *command: str | Path, **more: Any) -> subprocess.Popen[str]:
        """Run a program that is in here from its first instruction on."""
        shell = ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.folder)]
        process = subprocess.Popen([*shell, *map(str, command)], text=True, **more)
        self._started.append(process)
        return process

    def sleeper(self) -> subprocess.Popen[str]:
        process = self.start("sleep", "1000", stdout=subprocess.DEVNULL)
        wait_until("in its cgroup", lambda: str(process.pid) in self.procs() and is_sleep(process))
        return process

    def procs(self) -> list[str]:
        return (self.folder / "cgroup.procs").read_text().split()

    def traffic(self, *words: object, **more: Any) -> Flow:
        """A program of traffic.py, which sends and receives already; it ends with the cgroup."""
        return Flow(*self.started(sys.executable, "-I", TRAFFIC, *map(str, words), **more))

    def started(self, *command: str | Path, **more: Any) -> tuple[subprocess.Popen[str], Path]:
        """A program and the file that it prints into."""
        number, name = tempfile.mkstemp(dir="/run", prefix="scxg-")
        self._stack.callback(os.unlink, name)
        with os.fdopen(number) as said:
            return self.start(*command, stdout=said, **more), Path(name)

    def remove(self) -> None:
        for process in self._started:  # wherever it is now
            process.kill()
            process.wait(20)
        self._started.clear()
        self._stack.close()
        if not self.folder.exists():
            return
        (self.folder / "cgroup.kill").write_text("1")
        wait_until("an empty cgroup", self._removed, 20)

    def _removed(self) -> bool:
        for inner in [p for p in self.folder.iterdir() if p.is_dir()]:
            inner.rmdir()
        try:
            self.folder.rmdir()
        except OSError:
            return False
        return True


def is_sleep(process: subprocess.Popen[str]) -> bool:
    return Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n"


class Flow:
    """A program of traffic.py at work; what it prints is read while it runs."""

    def __init__(self, process: subprocess.Popen[str], said: Path) -> None:
        self.process, self._said = process, said
        wait_until("traffic", self.rows, 60)

    def rows(self) -> list[tuple[float, float]]:
        """Its lines so far, of two numbers each."""
        whole = self._said.read_text().rpartition("\n")[0].splitlines()
        pairs = (line.split() for line in whole)
        return [(float(when), float(value)) for when, value in pairs]

    def rate(self, start: float, end: float) -> float:
        """Bytes a second between two moments."""
        window = [row for row in self.rows() if start <= row[0] <= end]
        assert len(window) > 2, self.rows()[-3:]
        (t0, b0), (t1, b1) = window[0], window[-1]
        return (b1 - b0) / (t1 - t0)

    def longest_gap(self, start: float) -> float:
        """Longest time without a new byte."""
        longest, last, since = 0.0, -1.0, start
        for when, count in self.rows():
            if when >= start and count != last:
                longest, last, since = max(longest, when - since), count, when
        return longest

    def quantile(self, q: float, start: float, end: float) -> float:
        """Of the round trips begun between two moments, in ms."""
        trips = sorted(trip for when, trip in self.rows() if start <= when < end)
        assert len(trips) > 20
        return 1000 * trips[min(len(trips) - 1, int(q * len(trips)))]

    def lasts(self, seconds: float) -> tuple[float, float]:
        """Let it run on; from when to when."""
        began = time.monotonic()
        time.sleep(seconds)
        assert self.process.poll() is None, "the traffic ended"
        return began, time.monotonic()

    def measured(self, settle: float, seconds: float) -> float:
        """Bytes a second over a while that begins when it has settled."""
        self.lasts(settle)
        return self.rate(*self.lasts(seconds))


def tree() -> dict[str, list[str]]:
    """Programs of ours by cgroup, as bpftool tells it. It fails when one goes while it looks: it is asked again."""
    command = ["bpftool", "cgroup", "tree", str(ROOT)]
    for _ in range(10):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    current = ""
    for line in done.stdout.splitlines():
        if line.startswith(str(ROOT)):
            current = line.strip().removeprefix(str(ROOT)) or "/"
        elif OURS.search(line):
            found.setdefault(current, []).extend(OURS.findall(line))
    return {path: sorted(names) for path, names in found.items()}


PAIR = ["scxg_net_down", "scxg_net_up"]
CONFIG = "[metrics]\nenabled = false\n"


@contextmanager
def configured(
    toml: str, mode: str = "auto", state: str = "idle", prefix: Sequence[str] = ()
) -> Iterator[Supervised]:
    """A supervisor as the unit starts it, with this configuration; `prefix` is a command that runs it.

    In the state `fallback` it has given up on its scheduler, so that no game waits for one.
    """
    root = Path(tempfile.mkdtemp(prefix="scxg-", dir="/run"))
    (root / "etc").mkdir()
    (root / "etc/config.toml").write_text(CONFIG + toml)
    if state == "fallback":
        (root / "state").mkdir()
        before = {"schema": 1, **asdict(State(fallback_boot=boot_id()))}
        (root / "state/state.json").write_text(json.dumps(before))
    env = {
        **os.environ,
        "SCX_GAMER_RUNTIME_DIR": str(root / "run"),
        "SCX_GAMER_STATE_DIR": str(root / "state"),
        "SCX_GAMER_CONFIG_DIR": str(root / "etc"),
    }
    with (root / "log").open("ab") as out:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "scx_gamer", "run", "--mode", mode],
            env=env,
            stdout=out,
            stderr=out,
        )
    supervised = Supervised(process, root, root / "log")
    try:
        supervised.wait_state(state, 120)
        yield supervised
    except BaseException:
        sys.stderr.write(supervised.text())
        raise
    finally:
        end(process, 20)
        shutil.rmtree(root)


def cli(sup: Supervised, *words: str) -> subprocess.CompletedProcess[str]:
    """A command's answer, from its code run here: to start Python takes an emulated guest longer than all the rest."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as env, redirect_stdout(out), redirect_stderr(err):
        env.setenv("SCX_GAMER_RUNTIME_DIR", str(sup.root / "run"))
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def typed(
    sup: Supervised, *words: str, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """A command as the user types it; `prefix` is a command that runs it."""
    env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(sup.root / "run")}
    command = [*prefix, sys.executable, "-m", "scx_gamer", *words]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def limits(sup: Supervised) -> dict[str, dict[str, Any]]:
    """Return the limits that the supervisor reports, by cgroup."""
    found = sup.ask("net_status")
    return {row["cgroup"]: row for row in found["limits"]}


def attach_for_good(older: Object, group: Cgroup) -> None:
    """Put another life's program on a cgroup in the way that outlives whoever did it: by id, with no link."""
    fd = older.programs[programs.DOWN].fd
    number = int(kernel.prog_info(fd)["id"])
    pin = Path("/sys/fs/bpf/scxg-test")
    kernel.pin(fd, pin)
    try:
        run(
            "bpftool",
            "cgroup",
            "attach",
            str(group.folder),
            "cgroup_inet_ingress",
            "id",
            str(number),
        )
    finally:
        pin.unlink()

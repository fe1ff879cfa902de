# SPDX-License-Identifier: GPL-2.0-only
"""The Debian package as a user has it: a Debian 13 with systemd, bus, polkit and Prometheus, on a real kernel."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.screen import on_screen
from tests.vm.harness import kernel_state, wait_until

TOP = Path(__file__).resolve().parents[3]
WRITTEN = Path("/mnt/written")  # the layer over the root file system
DEB, UNIT = "scx-gamer", "scx-gamer.service"
BUS = "org.scxgamer.Supervisor1"
USER = "games"  # an ordinary one, and no more
PROMETHEUS = "127.0.0.1:9795"
HOME = Path("/home/scxg-player")
GAME = HOME / "blobfrenzy"
# dpkg's and systemd's own bookkeeping, caches and logs, and what this test brings
OWN = re.compile(
    r"var/(lib/(dpkg|systemd|polkit-1|prometheus)|log|cache|tmp)|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$"
    r"|etc/(group|passwd|gshadow|shadow)\.lock|run|tmp|root|home|mnt|proc|sys|dev"
)


def run(*words: str, check: bool = True, timeout: float = 300, user: str = "") -> str:
    command = ["/usr/sbin/runuser", "-u", user, "--", *words] if user else list(words)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=timeout, check=False, stdin=subprocess.DEVNULL, cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}{journal()}"
    return done.stdout


def journal() -> str:
    command = ["journalctl", "-b", "-u", UNIT, "--no-pager", "-o", "cat", "-n", "40"]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, errors="replace", timeout=60, check=False
    ).stdout


def files() -> set[str]:
    """What was written since the boot and is there now."""
    found = set()
    for folder, folders, names in os.walk(WRITTEN):
        inner = os.path.relpath(folder, WRITTEN)
        if OWN.match(inner):
            folders.clear()
            continue
        found |= {os.path.normpath(f"{inner}/{name}") for name in names}
    return {name for name in found if not OWN.match(name) and os.path.lexists(f"/{name}")}


@pytest.fixture(scope="module", autouse=True)
def debs() -> tuple[Path, Path]:
    """The package, and the same with a higher version."""
    (found,) = (TOP / "build/package").glob("scx-gamer_*.deb")
    tree, later = Path("/tmp/later"), Path("/tmp/two.deb")
    run("dpkg-deb", "-R", str(found), str(tree))
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", "Version: 99.0", control.read_text(), flags=re.M))
    run("dpkg-deb", "-Znone", "-b", str(tree), str(later))
    return found, later


@pytest.fixture(scope="module", autouse=True)
def installed_game() -> None:
    """In a home that is closed to others, as homes are."""
    entries = HOME / ".local/share/applications"
    entries.mkdir(parents=True)
    shutil.copy(os.path.realpath("/bin/sh"), GAME)
    (entries / "blob.desktop").write_text(
        f"[Desktop Entry]\nType=Application\nName=Blob Frenzy\nExec={GAME}\nCategories=Game;\n"
    )
    HOME.chmod(0o700)
    user = pwd.getpwnam(USER)
    for path in (HOME, *HOME.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In place of the other folders': the purge is the test."""


def status(user: str = USER) -> dict[str, Any]:
    try:
        found = json.loads(run("scx-gamer", "status", "--json", user=user, check=False))
    except json.JSONDecodeError:  # it is not there yet
        return {"state": ""}
    assert isinstance(found, dict)
    return found


def wait_state(state: str) -> None:
    wait_until(f"state {state}", lambda: status()["state"] == state, 120)


def property_of_the_bus(name: str) -> str:
    return run("busctl", "get-property", BUS, "/org/scxgamer/Supervisor1", BUS, name, user=USER)


@contextmanager
def game() -> Iterator[subprocess.Popen[bytes]]:
    """A program of the ordinary user that its desktop entry calls a game."""
    user = pwd.getpwnam(USER)
    with subprocess.Popen(
        ["sh", "-c", "while :; do sleep 0.02; done"], executable=GAME, stdin=subprocess.DEVNULL, cwd="/",
        user=user.pw_uid, group=user.pw_gid, extra_groups=[],
    ) as process:  # fmt: skip
        try:
            wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
            yield process
        except AssertionError as err:
            raise AssertionError(f"{err}\n{journal()}") from err
        finally:
            process.kill()


@contextmanager
def prometheus() -> Iterator[None]:
    """Debian's server with the part of its configuration that the package brings."""
    config = Path("/usr/share/scx-gamer/prometheus/scrape.yml").read_text()
    rules = "/usr/share/scx-gamer/prometheus/scx-gamer.rules.yml"
    folder = Path("/tmp/prometheus")
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 3s}}\nrule_files: [{rules}]\n{config}"
    )
    with subprocess.Popen(
        [
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={PROMETHEUS}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=folder,
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.kill()


def stored(expr: str) -> list[Any]:
    """What Prometheus answers; nothing while it is not up."""
    url = f"http://{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return list(json.loads(answer.read())["data"]["result"])
    except OSError:
        return []


@contextmanager
def agent_of_a_user() -> Iterator[None]:
    """The agent's unit under a user's own systemd, with a session bus."""
    user = pwd.getpwnam(USER)
    runtime = Path(f"/run/user/{user.pw_uid}")
    runtime.mkdir(parents=True, exist_ok=True)
    os.chown(runtime, user.pw_uid, user.pw_gid)
    address = f"unix:path={runtime}/bus"
    env = {"XDG_RUNTIME_DIR": str(runtime), "DBUS_SESSION_BUS_ADDRESS": address, "HOME": "/tmp"}
    words = [f"{name}={value}" for name, value in env.items()]
    with ExitStack() as stack:
        for name, command in (
            ("scxg-bus", ("dbus-daemon", "--session", "--nofork", f"--address={address}")),
            ("scxg-user", ("/usr/lib/systemd/systemd", "--user")),
        ):
            settings = ["-pDelegate=yes", f"-pUser={USER}", *(f"-pEnvironment={w}" for w in words)]
            run("systemd-run", f"--unit={name}", "--collect", *settings, *command)
            stack.callback(run, "systemctl", "stop", name, check=False)

        def systemctl(*more: str) -> str:
            return run("env", *words, "systemctl", "--user", *more, user=USER, check=False)

        wait_until("the user's systemd", lambda: "running" in systemctl("is-system-running"), 120)
        assert systemctl("is-enabled", "scx-gamer-agent").strip() == "disabled"
        assert systemctl("start", "scx-gamer-agent") == ""

        def log() -> str:
            found = run(
                "journalctl", "-b", "_COMM=scx-gamer", "--no-pager", "-o", "cat", check=False
            )
            return found + systemctl("status", "scx-gamer-agent")

        wait_until("the agent listens", lambda: "listening to GameMode, notices" in log(), 240)
        assert systemctl("is-active", "scx-gamer-agent").strip() == "active"
        yield
        assert systemctl("is-active", "scx-gamer-agent").strip() == "active", log()


@pytest.mark.timeout(700)  # less than the guest has, so that it can say where it stood
def test_from_installation_to_purge(
    debs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """One story, in order, as a user lives it."""
    one, two = debs
    before = files()
    run("dpkg", "-i", str(one))  # all dependencies are there: nothing is forced
    assert run("systemctl", "is-enabled", UNIT, check=False).strip() == "disabled"
    assert run("systemctl", "is-active", UNIT, check=False).strip() == "inactive"
    run("systemctl", "enable", "--now", UNIT)
    wait_state("idle")
    assert kernel_state() == "disabled"
    report = json.loads(run("scx-gamer", "doctor", "--json"))
    assert report["exit"] == 0, [f for f in report["findings"] if f["level"] == "fail"]

    with prometheus(), agent_of_a_user(), game() as played:
        wait_state("attached")
        (row,) = json.loads(run("scx-gamer", "games", "list", "--json", user=USER))
        found = (row["pid"], row["rule"], row["name"])
        assert found == (played.pid, "desktop-entry", "Blob Frenzy")
        assert property_of_the_bus("State").strip() == 's "attached"'
        assert property_of_the_bus("ActiveGame").split() == ["u", str(row["pid"])]
        assert "attached" in Path("/run/scx-gamer/hud").read_text()
        command = ["/usr/sbin/runuser", "-u", USER, "--", "scx-gamer", "top"]
        with on_screen(command, {**os.environ, "PATH": "/usr/bin:/bin"}) as screen:
            text = screen.wait(lambda text: "attached" in text and str(row["pid"]) in text, 120)
            screen.press("q")
            assert screen.end(60) == 0
        with capsys.disabled():
            print(f"\n{text}")
        wait_until(
            "Prometheus has it",
            lambda: stored('scx_gamer_state{state="attached"} == 1'),
            180,
        )
        for verb in (("stop",), ("profiles", "set", "server")):
            done = run("scx-gamer", *verb, user=USER, check=False)
            assert "Traceback" not in done and len(done.splitlines()) == 1, done
            assert status()["state"] == "attached"
        first = run("systemctl", "show", UNIT, "-pMainPID")
        run("dpkg", "-i", str(two))  # an upgrade while a game runs: the new one takes over
        wait_until("the new one", lambda: run("systemctl", "show", UNIT, "-pMainPID") != first, 60)
        wait_until("an answer", lambda: status()["state"] in ("idle", "attached"), 120)
        assert played.poll() is None
    wait_until("the kernel's own scheduler", lambda: kernel_state() == "disabled", 60)

    with game():
        wait_state("attached")
        run("dpkg", "-r", DEB)  # while a game runs
        assert kernel_state() == "disabled"
    assert not Path("/usr/bin/scx-gamer").exists()
    assert Path("/var/lib/scx-gamer/state.json").exists(), "what a purge takes, a removal keeps"
    run("dpkg", "-P", DEB)
    run("systemctl", "daemon-reload")
    assert "could not be found" in run("systemctl", "status", UNIT, check=False)
    with pytest.raises(KeyError):
        pwd.getpwnam("scx-gamer")
    left = files() - before
    assert not left, sorted(left)
    assert not shutil.which("scx-gamer")

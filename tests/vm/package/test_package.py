# SPDX-License-Identifier: GPL-2.0-only
"""The Debian package on a Debian that can have it, on a real kernel: installed, used, upgraded, removed, purged."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.harness import kernel_state, wait_until
from tests.vm.vmlib.root import folder_of

TOP = Path(__file__).resolve().parents[3]
SUITE = "trixie"
ROOT = Path("/run/scxg-package")
TARGET = ROOT / "target"
DEB = "scx-gamer"
# dpkg's own bookkeeping, caches and logs
OWN = re.compile(
    r"var/(lib/(dpkg|systemd|ucf|polkit-1)|log|cache)|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|run|tmp"
)


@pytest.fixture(scope="module", autouse=True)
def debian() -> Iterator[None]:
    """A root of the suite, made by the host; what is written into it goes with the guest."""
    lower = folder_of(SUITE)
    assert (lower / ".complete").exists(), "made by the runner: python -m tests.vm.vmlib.root"
    ROOT.mkdir()
    mount("-t", "tmpfs", "none", str(ROOT))
    for name in ("upper", "work", "target"):
        (ROOT / name).mkdir()
    mount(
        "-t",
        "overlay",
        "overlay",
        "-o",
        f"lowerdir={lower},upperdir={ROOT}/upper,workdir={ROOT}/work",
        str(TARGET),
    )
    for name in ("proc", "sys", "dev"):
        mount("--rbind", f"/{name}", str(TARGET / name))
    mount("-t", "tmpfs", "none", str(TARGET / "run"))
    (found,) = (TOP / "build/package").glob("scx-gamer_*.deb")
    (TARGET / "tmp").mkdir(exist_ok=True)
    (TARGET / "tmp/one.deb").write_bytes(found.read_bytes())
    later(found)
    yield
    subprocess.run(["umount", "-l", TARGET], check=False, timeout=60)
    subprocess.run(["umount", "-l", ROOT], check=False, timeout=60)


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, timeout=60)


def later(deb: Path) -> None:
    """The same with a higher version."""
    tree = ROOT / "later"
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True, timeout=120)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", "Version: 99.0", control.read_text(), flags=re.M))
    subprocess.run(
        ["dpkg-deb", "-Znone", "-b", tree, TARGET / "tmp/two.deb"],
        check=True, timeout=300, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def inside(*words: str, check: bool = True, timeout: float = 300) -> str:
    done = subprocess.run(
        ["chroot", TARGET, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=timeout, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}"
    return done.stdout


def files() -> set[str]:
    found = set()
    for folder, folders, names in os.walk(TARGET):
        inner = os.path.relpath(folder, TARGET)
        if inner in ("proc", "sys", "dev", "run", "tmp"):
            folders.clear()
            continue
        found |= {os.path.normpath(f"{inner}/{name}") for name in (*names, *folders)}
    return {name for name in found if not OWN.match(name)}


def installed() -> str:
    return inside("dpkg-query", "-W", "-f", "${Status} ${Version}", DEB, check=False)


def test_from_installation_to_purge() -> None:
    """One story, in order, as a user lives it."""
    before = files()
    inside("dpkg", "-i", "/tmp/one.deb")  # all dependencies are there: nothing is forced
    assert installed().startswith("install ok installed 0.")
    assert "usr/lib/systemd/system/scx-gamer.service" in files()
    enabled = list((TARGET / "etc/systemd").rglob("*scx-gamer*"))
    assert not enabled, "the package must not enable its unit"

    version = inside("scx-gamer", "version").strip()
    assert version.startswith("scx-gamer 0.")
    report = json.loads(inside("scx-gamer", "doctor", "--json"))
    levels = {f["check"]: f["level"] for f in report["findings"]}
    assert levels["scheduler"] == levels["libbpf"] == levels["configuration"] == "ok", report

    with subprocess.Popen(
        ["chroot", TARGET, "scx-gamer", "run"], stderr=subprocess.PIPE
    ) as supervisor:
        try:
            wait_until(
                "idle",
                lambda: '"idle"' in inside("scx-gamer", "status", "--json", check=False),
                120,
            )
            with subprocess.Popen(
                ["chroot", TARGET, "scx-gamer", "exec", "--", "sh", "-c", "while :; do :; done"]
            ) as game:
                wait_until("attached", lambda: kernel_state() == "enabled", 120)
                games = json.loads(inside("scx-gamer", "games", "list", "--json"))
                assert [g["pid"] for g in games] == [game.pid]
                assert 'state{state="attached"} 1.0' in inside("scx-gamer", "metrics")
                inside("dpkg", "-i", "/tmp/two.deb")  # an upgrade while a game runs
                assert installed() == "install ok installed 99.0"
                assert kernel_state() == "enabled"
                game.terminate()
                game.wait(60)
            wait_until("idle again", lambda: kernel_state() == "disabled", 60)
        finally:
            supervisor.terminate()
            assert supervisor.wait(60) == 0

    inside("dpkg", "-r", DEB)
    assert not (TARGET / "usr/bin/scx-gamer").exists()
    assert (TARGET / "var/lib/scx-gamer/state.json").exists(), "what a purge takes, a removal keeps"
    inside("dpkg", "-P", DEB)
    left = files() - before
    assert not left, sorted(left)
    assert not before - files()

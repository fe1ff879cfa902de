# SPDX-License-Identifier: GPL-2.0-or-later
"""First steps of a user: make run, pip install, and set-ups that install no more than requested."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packages.conftest import TOP, run


@pytest.fixture
def stubs(tmp_path: Path) -> dict[str, str]:
    """A caller who is not root: `id` says so, `sudo` writes down what it is asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("id", "echo 1000"), ("sudo", f'echo "$@" > {tmp_path}/sudo')):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_make_run_on_a_sched_ext_kernel_asks_for_root(
    tmp_path: Path, stubs: dict[str, str]
) -> None:
    """The build level of the set-up, and sudo: no virtual machine, nothing of what tests need."""
    kernel = tmp_path / "sched_ext"
    kernel.mkdir()
    out = run("make", "run", f"SCHED_EXT={kernel}", env=stubs)
    assert (tmp_path / "sudo").read_text() == f"{TOP}/build/venv/bin/scx-gamer run\n"
    assert (TOP / "build/.bootstrap-build").exists()
    assert "qemu" not in out


def test_make_run_as_root_starts_the_supervisor(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("run the tests of packages as root")
    kernel = tmp_path / "sched_ext"
    kernel.mkdir()
    done = subprocess.run(
        ["make", "run", f"SCHED_EXT={kernel}"], cwd=TOP, capture_output=True, text=True, timeout=300,
        check=False, env={**os.environ, "SCX_GAMER_RUNTIME_DIR": str(tmp_path / "run"),
                          "SCX_GAMER_STATE_DIR": str(tmp_path / "state")},
    )  # fmt: skip
    # this machine's kernel has none: that the supervisor says so shows that it was started
    assert done.returncode != 0
    assert "unsupported" in done.stderr or "sched_ext" in done.stderr


def test_pip_installs_it_with_all_that_it_needs(tmp_path: Path) -> None:
    """In an environment of its own, which sees nothing of this machine's packages."""
    run(sys.executable, "-m", "venv", str(tmp_path))
    run(str(tmp_path / "bin/pip"), "install", "-q", str(TOP))
    said = run(str(tmp_path / "bin/scx-gamer"), "profiles", "show", "gaming")
    assert "gaming" in said.lower()
    assert list(tmp_path.rglob("sched.bpf.o"))


def test_pip_install_without_the_headers_is_one_clear_line(tmp_path: Path) -> None:
    """In a copy of the tree that has no build/, with this machine's own libbpf headers hidden."""
    tree = tmp_path / "tree"
    tree.mkdir()
    run("sh", "-c", f"tar -c --exclude=./build --exclude-vcs . | tar -x -C {tree}")
    pip = f"{TOP}/build/venv/bin/python -m pip install --no-build-isolation --no-deps -t {tmp_path}/to {tree}"
    hide = "[ ! -d /usr/include/bpf ] || mount -t tmpfs none /usr/include/bpf;"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{hide} exec {pip}"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0
    lines = {line.strip() for line in said.splitlines() if "scx_gamer: " in line}
    assert len(lines) == 1, said
    assert "libbpf 1.4 or later, and there are none" in lines.pop()
    assert "Traceback" not in said
    assert not (tree / "build/bpf").exists()


def test_old_headers_are_named(tmp_path: Path) -> None:
    headers_problem = runpy.run_path(str(TOP / "packaging/hatch_build.py"))["headers_problem"]
    (tmp_path / "bpf").mkdir()
    version = tmp_path / "bpf/libbpf_version.h"
    version.write_text("#define LIBBPF_MAJOR_VERSION 1\n#define LIBBPF_MINOR_VERSION 1\n")
    assert f"{tmp_path} has 1.1: install libbpf-dev" in headers_problem([tmp_path])
    version.write_text("#define LIBBPF_MAJOR_VERSION 1\n#define LIBBPF_MINOR_VERSION 4\n")
    assert headers_problem([tmp_path / "absent", tmp_path]) == ""


def listed(level: str) -> set[str]:
    return set(run("packaging/bootstrap", "list", level).split())


def test_each_level_installs_no_more_than_it_needs() -> None:
    """As on this machine, a Debian: nobody who builds or sees the demonstration gets what only tests use."""
    build, demo, tests, lockstep = map(listed, ("build", "demo", "test", "lockstep"))
    only_tests = {"prometheus", "kwin-wayland", "sway", "lintian", "chocolate-doom", "mmdebstrap"}
    assert only_tests <= tests and not only_tests & (build | demo | lockstep)
    assert not {"ninja-build", "libglib2.0-dev", "qemu-system-x86"} & build
    assert "python3-bpfcc" in build and "python3-bpfcc" not in demo
    assert not {"ninja-build", "libglib2.0-dev", "libfdt-dev"} & tests
    assert {"ninja-build", "libglib2.0-dev", "libfdt-dev", "flex", "bison"} <= lockstep
    assert lockstep <= demo or "qemu-system-x86" in demo
    assert build <= tests
    assert 'bootstrap" lockstep' in (TOP / "tests/vm/lockstep/build").read_text()

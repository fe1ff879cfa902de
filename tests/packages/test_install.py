# SPDX-License-Identifier: GPL-2.0-or-later
"""make install and uninstall, man pages, completions, metainfo."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from scx_gamer import __version__
from scx_gamer.config.settings import load
from scx_gamer.system.exit_codes import INTERNAL
from tests.packages.conftest import TOP, files, make, run
from tests.unit.cli.test_output import WORDS
from tests.unit.test_docs import commands

PACKAGING = TOP / "packaging"


def test_everything_that_the_tree_has_for_the_system_is_installed(installed: Path) -> None:
    found = {Path(name).name for name in files(installed)}
    for folder in ("systemd", "dbus", "polkit", "sysusers", "tmpfiles", "prometheus", "grafana"):
        for path in (PACKAGING / folder).rglob("*") if (PACKAGING / folder).is_dir() else ():
            if path.is_file() and path.suffix not in (".py", ".md"):
                assert path.name in found, f"packaging/{folder}/{path.name} is not installed"
    interface = installed / "usr/share/dbus-1/interfaces/io.github.scx_gamer.Supervisor1.xml"
    assert interface.read_bytes() == (TOP / "scx_gamer/dbus/introspection.xml").read_bytes()
    for path in (TOP / "profiles").rglob("*.toml"):
        assert (installed / "usr/share/scx-gamer" / path.relative_to(TOP / "profiles")).is_file()
    unshipped = ("faulty", "baseline.bpf.o")
    assert not [name for name in files(installed) if any(part in name for part in unshipped)]
    assert not [name for name in files(installed) if name.startswith("usr/lib/scx-gamer/tests")]


def test_the_installed_program_runs_from_there(installed: Path, tmp_path: Path) -> None:
    """With its own configuration, objects and modules, and none of the checkout's; deaf to the environment."""
    venv = TOP / "build/venv/bin/python"
    text = (installed / "usr/bin/scx-gamer").read_text()
    assert text.startswith("#!/usr/bin/python3 -I\n")
    (tmp_path / "scx_gamer").mkdir()
    (tmp_path / "scx_gamer/__init__.py").write_text("raise SystemExit('the wrong one')")
    # the venv has the packages that the distribution's Python gets from dependencies
    out = run(
        venv, "-I", installed / "usr/bin/scx-gamer", "version", "--json",
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert json.loads(out) == {"version": __version__}
    program = str(installed / "usr/bin/scx-gamer")
    code = (
        "import runpy, sys; sys.argv = ['scx-gamer', 'version']\n"
        f"try: runpy.run_path({program!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "from scx_gamer.config.settings import load, vendor_file; from scx_gamer.libbpf import find_object\n"
        "from scx_gamer.bench.workload import find_workload\n"
        "load(); print(vendor_file(), find_object('sched'), find_workload())"
    )
    out = run(venv, "-I", "-c", code, cwd=tmp_path).splitlines()[-1]
    for path in out.split():
        assert path.startswith(str(installed)), out


def test_every_command_runs_from_there(installed: Path, tmp_path: Path) -> None:
    """Outside the tree, as root: each finds its modules, data and helpers, and none writes beside them."""
    environment = {
        "PATH": os.environ["PATH"],
        **{f"SCX_GAMER_{n}_DIR": str(tmp_path / n) for n in ("RUNTIME", "STATE", "CONFIG")},
    }
    (tmp_path / "CONFIG").mkdir()
    before = files(installed)
    for name in sorted(commands()):
        line = f"{name} {WORDS.get(name, '')}".split()
        done = subprocess.run(
            [TOP / "build/venv/bin/python", "-I", installed / "usr/bin/scx-gamer", *line],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        said = f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode != INTERNAL and "Traceback" not in said, said
        assert "No module named" not in said and str(TOP / "scx_gamer") not in said, said
    code = (
        f"import sys; sys.path.insert(0, {str(installed / 'usr/lib/scx-gamer')!r})\n"
        "import subprocess\nfrom scx_gamer.bench import session\nfrom scx_gamer.system import child\n"
        "subprocess.run([*session.CLI, 'version'], env=child.environment(), check=True)"
    )
    out = run(TOP / "build/venv/bin/python", "-I", "-c", code, cwd=tmp_path)
    assert out.strip() == f"scx-gamer {__version__}"  # the child of bench
    assert files(installed) == before


def test_every_module_is_compiled_for_its_place(installed: Path) -> None:
    sources = {name for name in files(installed) if name.endswith(".py")}
    compiled = {name for name in files(installed) if name.endswith(".pyc")}
    assert len(compiled) == len(sources) > 100
    for name in compiled:
        data = (installed / name).read_bytes()
        assert data[4] & 1, f"{name}: goes by time"
        assert str(installed).encode() not in data, name


def test_another_prefix_is_in_the_units(tmp_path: Path) -> None:
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/scxg")
    for path in (tmp_path / "opt/scxg").rglob("*.service"):
        assert "/usr/bin/scx-gamer" not in path.read_text()
    assert not (tmp_path / "usr").exists()


def test_uninstall_takes_all_of_it_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "usr/share/man/man1/other.1"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    cache = tmp_path / "usr/lib/scx-gamer/scx_gamer/__pycache__"
    (cache / "config.cpython-311.pyc").write_text("x")
    assert len(files(tmp_path)) > 80
    make("uninstall", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert files(tmp_path) == {"usr/share/man/man1/other.1"}
    assert not list(tmp_path.rglob("*scx*"))


def test_man_pages_are_clean_and_complete(installed: Path, tmp_path: Path) -> None:
    man = installed / "usr/share/man"
    pages = [man / "man1/scx-gamer.1", man / "man5/scx-gamer-config.5"]
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "style", *pages], capture_output=True, text=True
    )
    # both pages refer to each other, and neither is on this machine's manpath
    said = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert said == []
    text = re.sub(".\b", "", run("mandoc", "-Tutf8", *map(str, pages)))
    words = " ".join(text.split())
    for command in commands():
        assert f"scx-gamer {command}" in words, command
    settings = load(TOP)
    for key in ("mode", "metrics.port", *(f"tunables.{name}" for name in settings.tunables)):
        assert re.search(rf"^ *{re.escape(key)} = ", text, re.MULTILINE), key
    assert "From 500 to 20000." in words
    assert not re.search(r"= \[$", text, re.MULTILINE)  # a list is whole


def complete_bash(script: Path, line: str) -> set[str]:
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _scx_gamer;"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return set(run("bash", "-c", code).split())


def complete_fish(script: Path, line: str) -> set[str]:
    out = run("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'")
    return {row.split("\t")[0] for row in out.splitlines()}


def complete_zsh(script: Path, line: str) -> set[str]:
    """The rows that the function would describe; the rest is zsh's own."""
    words = " ".join(f"'{word}'" for word in line.split(" "))
    code = (
        "_describe() { print -l -- ${rows%%:*}; }; _files() { :; }; _normal() { print NORMAL; }\n"
        f"words=({words}); CURRENT=${{#words}}; source {script}"
    )
    last = line.split(" ")[-1]
    return {row for row in run("zsh", "-f", "-c", code).split() if row.startswith(last)}


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_completions_know_every_command(generated: Path, shell: str) -> None:
    script = generated / f"scx-gamer.{shell}"
    run(shell, "-n", script)
    complete = {"bash": complete_bash, "fish": complete_fish, "zsh": complete_zsh}[shell]
    first = {command.split()[0] for command in commands()}
    assert first <= complete(script, "scx-gamer ")
    assert {"start", "status", "stop"} <= complete(script, "scx-gamer st")
    assert "run" not in complete(script, "scx-gamer st")
    for group in ("games", "trace"):
        wanted = {c.split()[1] for c in commands() if c.startswith(f"{group} ")}
        got = complete(script, f"scx-gamer {group} ")
        assert wanted <= got
        assert "status" not in got
    assert "--json" in complete(script, "scx-gamer status --")
    assert "--function" in complete(script, "scx-gamer trace frames --")
    assert "--function" not in complete(script, "scx-gamer trace wakeups --")


def test_metainfo_is_valid() -> None:
    (path,) = (PACKAGING / "metainfo").glob("*.xml")
    run("appstreamcli", "validate", "--no-net", path)
    assert f'<release version="{__version__}"' in path.read_text()


def test_the_version_is_one() -> None:
    assert f"scx-gamer ({__version__})" in (PACKAGING / "debian/changelog").read_text()
    assert f"Version:        {__version__}\n" in (PACKAGING / "rpm/scx-gamer.spec").read_text()
    assert f"pkgver={__version__}\n" in (PACKAGING / "arch/PKGBUILD").read_text()


def test_arch_builds_and_packages(tmp_path: Path) -> None:
    """Run the functions of a PKGBUILD as makepkg does: in order, with its two directories."""
    make("source-archive")
    archive = TOP / f"build/package/scx-gamer-{__version__}.tar.gz"
    source, target = tmp_path / "src", tmp_path / "pkg"
    source.mkdir()
    run("tar", "-xzf", archive, "-C", source)
    tree = source / f"scx-gamer-{__version__}"
    (tree / "build").mkdir()
    for name in ("venv", "sysroot"):
        if (TOP / "build" / name).exists():
            (tree / "build" / name).symlink_to(TOP / "build" / name)
    code = (
        f"set -e; srcdir={source} pkgdir={target}; source {PACKAGING}/arch/PKGBUILD;"
        '[ "$pkgname" = scx-gamer ] && [ ${#depends[@]} -gt 5 ] && [ ${#source[@]} = ${#sha256sums[@]} ];'
        'cd "$srcdir"; (build); cd "$srcdir"; (package)'
    )
    run("bash", "-c", code)
    found = files(target)
    assert {"usr/bin/scx-gamer", "usr/share/licenses/scx-gamer/GPL-2.0-only.txt"} <= found
    assert "usr/lib/scx-gamer/scx_gamer/bpf/sched.bpf.o" in found

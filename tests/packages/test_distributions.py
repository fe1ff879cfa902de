# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian and the RPM package: built, linted, and what they hold."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

from scx_gamer import __version__
from tests.packages.conftest import TOP, files, make, run, sha256


def test_the_debian_package_holds_the_installation(
    deb: Path, installed: Path, tmp_path: Path
) -> None:
    run("dpkg-deb", "-x", deb, tmp_path)
    found = {name.removesuffix(".gz") for name in files(tmp_path)}
    moved = {
        "usr/share/zsh/site-functions/_scx-gamer": "usr/share/zsh/vendor-completions/_scx-gamer"
    }
    wanted = {moved.get(name, name) for name in files(installed) if not name.endswith(".pyc")} - {
        "usr/share/doc/scx-gamer/contributing.md"
    }
    # debhelper chooses the folder of the unit by its version
    found = {
        n.removeprefix("usr/") if n.startswith("usr/lib/systemd/system/") else n for n in found
    }
    wanted = {
        n.removeprefix("usr/") if n.startswith("usr/lib/systemd/system/") else n for n in wanted
    }
    assert wanted <= found, wanted - found
    added = {name for name in found - wanted if not name.startswith("usr/share/doc/scx-gamer/")}
    assert added <= {
        "usr/share/lintian/overrides/scx-gamer",
        "usr/share/python3/runtime.d/scx-gamer.rtupdate",
    }, added
    control = run("dpkg-deb", "-f", deb)
    for package in ("libbpf1 (>= 1:1.4)", "python3-evdev", "python3-typer (>= 0.9)"):
        assert package in control
    run("dpkg-deb", "-e", deb, tmp_path / "control")
    for name in ("postinst", "prerm", "postrm"):
        script = (tmp_path / "control" / name).read_text()
        run("sh", "-n", tmp_path / "control" / name)
        # enabled only again, where the administrator had enabled it
        for before, line in pairwise(script.splitlines()):
            assert "deb-systemd-helper enable" not in line or "symlinks" in before


def test_a_second_build_elsewhere_gives_the_same_bytes(deb: Path, tmp_path: Path) -> None:
    """Archive and package, under another umask and in a folder with another name."""
    again = tmp_path / "another" / "folder"
    run("sh", "-c", f"umask 077; make --no-print-directory deb PACKAGE={again}")
    for first in (deb, deb.with_name(f"scx-gamer-{__version__}.tar.gz")):
        assert sha256(first) == sha256(again / first.name), first.name


def test_the_wheel_is_reproducible(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(
            TOP / "build/venv/bin/python", "-m", "pip", "wheel", "-q", "--no-deps",
            "--no-build-isolation", "-w", tmp_path / name, TOP,
        )  # fmt: skip
    (one,), (two,) = (sorted((tmp_path / name).glob("*.whl")) for name in ("a", "b"))
    assert sha256(one) == sha256(two)


def test_a_release_is_of_its_tag_alone(tmp_path: Path) -> None:
    """The archive is git's own of the tag, and the Arch package names its sum."""
    make("source-archive", f"PACKAGE={tmp_path}")
    name = f"scx-gamer-{__version__}"
    clone = tmp_path / name
    # in an unpacked archive, which git does not know, the same archive again
    epoch = run("git", "log", "-1", "--format=%ct").strip()
    again = {"SOURCE_DATE_EPOCH": epoch, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    run("make", "-C", clone, "source-archive", f"PACKAGE={tmp_path}/again", env=again)
    assert sha256(tmp_path / f"{name}.tar.gz") == sha256(tmp_path / f"again/{name}.tar.gz")

    git = ("git", "-C", clone, "-c", "user.name=t", "-c", "user.email=t@example.org")
    run(*git, "init", "-q")
    run(*git, "add", "-A")
    run(*git, "commit", "-qm", "release")
    make_release = ["make", "-C", str(clone), "release"]
    done = subprocess.run(make_release, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and f"tag it v{__version__} first" in done.stderr
    run(*git, "tag", "-a", "-m", "release", f"v{__version__}")
    run(*make_release)
    archive = clone / f"dist/scx-gamer-{__version__}.tar.gz"
    first = sha256(archive)
    assert f"sha256sums=({first})" in (clone / "dist/PKGBUILD").read_text()
    listed = run("tar", "-tzf", archive).splitlines()
    assert f"scx-gamer-{__version__}/packaging/debian/control" in listed
    archive.unlink()
    run(*make_release)
    assert sha256(archive) == first
    (clone / "README.md").write_text("changed")
    assert subprocess.run(make_release, capture_output=True, check=False).returncode != 0


def test_lintian_finds_no_error(deb: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error", "--tag-display-limit", "0", deb],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_rpm_package_builds_and_holds_the_same(installed: Path, tmp_path: Path) -> None:
    make("rpm", "RPMFLAGS=--nodeps")
    (package,) = (TOP / "build/package/rpm/RPMS").rglob(f"scx-gamer-{__version__}-*.rpm")
    listed = {line.lstrip("/") for line in run("rpm", "-qlp", package).splitlines()}
    found = {name.removesuffix(".gz") for name in listed}
    assert files(installed) <= found, files(installed) - found
    done = subprocess.run(["rpmlint", package], capture_output=True, text=True, timeout=300)
    # what only a distribution's own build adds
    tolerated = {"no-signature", "no-packager-tag", "no-group-tag"}
    errors = [
        line
        for line in done.stdout.splitlines()
        if re.search(r": E: ", line) and not set(line.split()) & tolerated
    ]
    assert errors == []


def test_each_distribution_brings_what_python_needs() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    texts = {
        "python3-": (TOP / "packaging/debian/control").read_text(),
        "Requires:       python3-": (TOP / "packaging/rpm/scx-gamer.spec").read_text(),
        "python-": (TOP / "packaging/arch/PKGBUILD").read_text(),
        "": (TOP / "docs/install.md").read_text(),
    }
    for prefix, text in texts.items():
        for name in names:
            # dashes and underscores: distributions do not agree
            assert re.search(f"{prefix}{name.replace('-', '[-_]')}\\b", text), (prefix, name)

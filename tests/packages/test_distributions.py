# SPDX-License-Identifier: GPL-2.0-only
"""The Debian and the RPM package: built, linted, and what they hold."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from scx_gamer import __version__
from tests.packages.conftest import TOP, files, make, run


def test_the_debian_package_holds_the_installation(
    deb: Path, installed: Path, tmp_path: Path
) -> None:
    run("dpkg-deb", "-x", deb, tmp_path)
    found = {name.removesuffix(".gz") for name in files(tmp_path)}
    moved = {
        "usr/share/zsh/site-functions/_scx-gamer": "usr/share/zsh/vendor-completions/_scx-gamer"
    }
    wanted = {moved.get(name, name) for name in files(installed)} - {
        "usr/share/doc/scx-gamer/contributing.md"
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
        assert "deb-systemd-helper enable" not in script  # not enabled by the package


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

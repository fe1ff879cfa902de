# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of docs/ that build and install, and that no command of a page goes without a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.packages.conftest import TOP, files, make
from tests.pages import PAGES, commands_of

# Who runs what: tests/vm/pages/test_pages.py the first, this file the second, the third name a file that this builds.
IN_A_GUEST = {"scx-gamer", "systemctl", "journalctl", "ls"}
INSTALLERS = {"apt", "dnf"}
# The tiers themselves: each is run by CI, or runs this very test.
TIERS = re.compile(r"make (test|lint|bench|test-[a-z]+)( [A-Z]+=\w+)?$")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_is_run_somewhere(page: Path, tmp_path: Path) -> None:
    for line in commands_of(page):
        program = line.split()[0]
        if program in IN_A_GUEST or TIERS.match(line):
            continue
        if program in INSTALLERS:
            if line.split()[1] == "install":
                assert (TOP / line.split()[2]).is_file(), f"{line}: not what the build wrote"
            else:
                assert line == "apt purge scx-gamer"  # tests/vm/package
        elif line == "makepkg -si":
            assert (TOP / "packaging/arch/PKGBUILD").is_file()  # test_install.py runs its functions
        else:
            assert program == "make", f"nobody runs: {line}"
            words = [
                w if not w.startswith("DESTDIR=") else f"DESTDIR={tmp_path}"
                for w in line.split()[1:]
            ]
            if words == ["rpm"]:
                words.append("RPMFLAGS=--nodeps")
            make(*words)
            if words[0] == "install":
                assert "usr/bin/scx-gamer" in files(tmp_path)
            if words[0] == "uninstall":
                assert not files(tmp_path)

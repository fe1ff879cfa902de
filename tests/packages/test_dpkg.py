# SPDX-License-Identifier: GPL-2.0-or-later
"""dpkg and the package's own scripts, in a layer over this machine's root file system that goes with the test.

systemd does not run there, so no unit starts, and dependencies are not asked for: tests/vm/upgrade and tests/vm/package
have both, on a kernel with sched_ext.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian import BOOKKEEPING, with_version
from tests.packages.conftest import files, run
from tests.processes import running

UNIT = "scx-gamer.service"
SETTINGS = "etc/scx-gamer/conf.d/mine.toml"
STATE = "var/lib/scx-gamer/state.json"
MODULE = "usr/lib/scx-gamer/scx_gamer/service/hud.py"
WANTED = f"etc/systemd/system/multi-user.target.wants/{UNIT}"
MOUNTS = """set -e
mount -t tmpfs none "$1"; cd "$1"; mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work none root
for kept in proc dev; do mount --rbind /$kept root/$kept; done
mount -t tmpfs none root/run
echo made; exec cat"""


class Layer:
    """The machine's root file system and what was written over it, in a mount namespace of its own."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid, self._folder = pid, folder
        self.root = Path(f"/proc/{pid}/root{folder}/root")
        self._written = Path(f"/proc/{pid}/root{folder}/upper")

    def run(self, *words: str) -> str:
        enter = ["nsenter", f"--mount=/proc/{self._pid}/ns/mnt", "chroot", f"{self._folder}/root"]
        return run(*enter, *words, env={"DEBIAN_FRONTEND": "noninteractive"})

    def dpkg(self, action: str, what: Path | str) -> str:
        if isinstance(what, Path):
            shutil.copy(what, self.root / "tmp/a.deb")
            what = "/tmp/a.deb"
        return self.run("dpkg", "--force-depends", action, what)

    def written(self) -> set[str]:
        """Return the files that were written and exist, beside bookkeeping."""
        return {
            name for name in files(self._written)
            if not BOOKKEEPING.match(name) and os.path.lexists(self.root / name)
        }  # fmt: skip

    def accounts(self) -> set[str]:
        return {line.split(":")[0] for line in (self.root / "etc/passwd").read_text().splitlines()}


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Layer]:
    folder = tmp_path / "layer"
    folder.mkdir()
    with running(
        ["unshare", "-m", "sh", "-c", MOUNTS, "sh", folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == "made\n"
        yield Layer(process.pid, folder)


def test_installed_upgraded_removed_and_purged(deb: Path, layer: Layer, tmp_path: Path) -> None:
    in_package = {  # that of Debian 12 has /lib, which is a link
        re.sub(r"^\./(?=lib/)", "usr/", line.split()[5]).removeprefix("./")
        for line in run("dpkg-deb", "--contents", deb).splitlines()
        if not line.startswith("d")
    }
    accounts = layer.accounts()
    layer.dpkg("-i", deb)
    compiled = {name for name in layer.written() if name.endswith(".pyc")}
    assert layer.written() - compiled == in_package
    assert any("service/__pycache__/hud." in name for name in compiled)
    assert layer.accounts() == accounts | {"scx-gamer"}

    layer.run("systemctl", "enable", UNIT)
    assert WANTED in layer.written()
    for name in (SETTINGS, STATE):
        (layer.root / name).parent.mkdir(parents=True)
        (layer.root / name).write_text("")

    layer.dpkg("-i", with_version(deb, "99.0", tmp_path, without=MODULE))
    assert (
        layer.run("dpkg-query", "-Wf", "${Version} ${db:Status-Abbrev}", "scx-gamer") == "99.0 ii "
    )
    assert {WANTED, SETTINGS, STATE} <= layer.written()
    gone = {name for name in compiled if "service/__pycache__/hud." in name} | {MODULE}
    assert not gone & layer.written()

    layer.dpkg("-r", "scx-gamer")
    assert not in_package & layer.written()
    assert {SETTINGS, STATE} <= layer.written()
    assert "scx-gamer" in layer.accounts()

    layer.dpkg("-P", "scx-gamer")
    assert layer.written() == {SETTINGS}, "the administrator's own stays, and nothing else"
    assert layer.accounts() == accounts

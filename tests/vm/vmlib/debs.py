# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages of other suites, unpacked without a change to the system's package sources.

Each suite has an apt folder of its own in the cache, made from the machine's own source with the suite's name changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class FetchError(Exception):
    """Something could not be had; the text says what and what to do."""


def cache_dir() -> Path:
    """`SCX_GAMER_CACHE`, else a folder in the user's cache."""
    chosen = os.environ.get("SCX_GAMER_CACHE")
    base = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "scx-gamer"
    )
    base.mkdir(parents=True, exist_ok=True)
    return base.resolve()


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time works on this part of the cache."""
    with open(cache_dir() / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def own_source() -> tuple[str, str]:
    """(URI, keyring) of the machine's own Debian source."""
    for path in sorted(Path("/etc/apt").glob("sources.list*")) + sorted(
        Path("/etc/apt/sources.list.d").glob("*")
    ):
        if path.is_dir() or path.suffix not in (".list", ".sources"):
            continue
        text = path.read_text(errors="replace")
        keyring = re.search(r"[Ss]igned-[Bb]y[:=]\s*(\S+?)[\s\]]", text)
        uri = re.search(r"(?m)^(?:URIs:|deb)\s+(?:\[[^]]*\]\s+)?(\S+/debian)/?\s", text + "\n")
        if uri:
            default = "/usr/share/keyrings/debian-archive-keyring.gpg"
            return uri[1], keyring[1] if keyring else default
    raise FetchError(
        "no Debian package source in /etc/apt: run on Debian, or on a kernel with sched_ext as root"
    )


@dataclass(frozen=True)
class Suite:
    """A Debian suite seen through an apt folder of its own; `architecture` empty for this machine's."""

    name: str
    architecture: str = ""

    @property
    def _root(self) -> Path:
        return cache_dir() / "apt" / "-".join(filter(None, (self.name, self.architecture)))

    def _apt(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::State::lists": self._root / "lists",
            "Dir::Cache": self._root / "cache",
            "Dir::Etc::sourcelist": self._root / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Sandbox::User": "root",
        }
        if self.architecture:
            options |= dict.fromkeys(("APT::Architecture", "APT::Architectures"), self.architecture)
        command = [tool, *(f"-o{key}={value}" for key, value in options.items()), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise FetchError(
                f"{tool} {arguments[0]} in suite {self.name}: {done.stderr.strip().splitlines()[-1:]}"
            )
        return done.stdout

    def refresh(self) -> None:
        uri, keyring = own_source()
        for folder in ("lists/partial", "cache/archives/partial"):
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        (self._root / "sources.list").write_text(
            f"deb [signed-by={keyring}] {uri} {self.name} main\n"
        )
        self._apt("apt-get", "-qq", "update")

    def names(self, pattern: str) -> list[str]:
        """Package names that match a regular expression."""
        found = self._apt("apt-cache", "pkgnames", re.split(r"[\[(\\.^]", pattern)[0])
        return sorted(name for name in found.split() if re.fullmatch(pattern, name))

    def has(self, package: str) -> bool:
        return package in self.names(re.escape(package).replace("\\-", "-"))

    def unpack(self, packages: list[str], into: Path) -> None:
        """Download packages of this suite and unpack them."""
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir()) as folder:
            self._apt(
                "apt-get",
                "-qq",
                "download",
                *(f"{p}/{self.name}" for p in packages),
                cwd=Path(folder),
            )
            for deb in sorted(Path(folder).glob("*.deb")):
                subprocess.run(["dpkg", "-x", str(deb), str(into)], check=True)


def codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=", 1)[1].strip('"')
    raise FetchError("/etc/os-release names no VERSION_CODENAME")


def main(arguments: list[str]) -> int:
    """`python -m tests.vm.vmlib.debs FOLDER PACKAGE…`: packages of this Debian's backports into a folder."""
    folder, packages = Path(arguments[0]), arguments[1:]
    if shutil.which("apt-get") is None:
        print(
            "libbpf 1.4 or later with its headers is needed: install it from the distribution",
            file=sys.stderr,
        )
        return 1
    suite = Suite(f"{codename()}-backports")
    try:
        with locked("debs"):
            suite.refresh()
            suite.unpack(packages, folder)
    except FetchError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    print(f"unpacked from {suite.name}: {' '.join(packages)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

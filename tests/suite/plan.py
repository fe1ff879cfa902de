# SPDX-License-Identifier: GPL-2.0-or-later
"""Plan of the tests: the data of tests/tiers.toml, and the batches of tests/vm folders that share a guest."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.vm.vmlib import kernels

TREE = Path(__file__).resolve().parents[2]
DATA = TREE / "tests" / "tiers.toml"
VM = TREE / "tests" / "vm"
# A boot takes 20 to 50 s without KVM. Longer batches save boots, shorter ones spread better over the CPUs.
BATCH_S = 480.0
# The boot of a steady guest, in virtual time, takes 90 s, and such a guest begins early: it spreads well all the same.
STEADY_BATCH_S = 1000.0


class PlanError(Exception):
    """A wrong entry in tests/tiers.toml or an unknown name on the command line; one line."""


@dataclass(frozen=True)
class GuestKind:
    """Options of tests/vm/run for a kind of guest, and the host's commands before its first boot."""

    name: str
    options: tuple[str, ...]
    prepare: tuple[str, ...]
    python: str
    direct: bool  # whether root on a kernel with sched_ext runs these folders without a guest
    steady: bool  # whether it keeps one CPU of this machine busy, and no more


@dataclass(frozen=True)
class Folder:
    """One folder of tests/vm. `test` and `rest` name the kernels of `make test` and of `make test-all`."""

    name: str
    about: str
    guest: GuestKind
    cpus: int
    seconds: float  # estimate of its tests without the boot, until a run has measured them
    test: tuple[str, ...]
    rest: tuple[str, ...]
    reason: str
    instead: str
    own_guest: bool
    alone: bool
    figures: bool
    prepare: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Folders that run one after the other in one guest."""

    kernel: str
    folders: tuple[Folder, ...]

    @property
    def guest(self) -> GuestKind:
        return self.folders[0].guest

    @property
    def cpus(self) -> int:
        return self.folders[0].cpus

    @property
    def alone(self) -> bool:
        return any(folder.alone for folder in self.folders)

    @property
    def prepare(self) -> tuple[str, ...]:
        commands = (*self.guest.prepare, *(c for f in self.folders for c in f.prepare))
        return tuple(dict.fromkeys(commands))


@dataclass(frozen=True)
class Extra:
    """A part of `make test-all` beside the folders of tests/vm: a command of its own."""

    name: str
    command: str
    seconds: float
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything in tests/tiers.toml."""

    folders: dict[str, Folder]
    extras: tuple[Extra, ...]
    fuzz_s: dict[str, int]
    host_s: dict[str, float]
    guests: dict[str, GuestKind]

    def on(self, kernel: str, folder: Folder) -> Folder:
        """Return the folder as it runs on that kernel: another architecture's has a kind of guest of its own."""
        if kernel not in kernels.foreign():
            return folder
        kind = kernels.table()["foreign"][kernel]["architecture"]
        return replace(folder, guest=self.guests[kind])

    def chosen(self, names: Sequence[str]) -> list[Folder]:
        unknown = set(names) - self.folders.keys()
        if unknown:
            raise PlanError(
                f"tests/vm has no folder {', '.join(sorted(unknown))}; there are {', '.join(sorted(self.folders))}"
            )
        return [folder for folder in self.folders.values() if folder.name in names]


def _kernel(name: str) -> str:
    """The name in kernels.toml, for `oldest` and `newest` too."""
    name = kernels.table().get(name, name)
    if name not in (*kernels.names(), *kernels.foreign()):
        raise PlanError(f"tests/tiers.toml: kernels.toml has no kernel {name!r}")
    return str(name)


def _folder(name: str, entry: dict[str, Any], guests: dict[str, GuestKind]) -> Folder:
    test = tuple(_kernel(k) for k in entry["test"])
    every = kernels.names()
    rest = tuple(_kernel(k) for k in [*entry.get("all", every), *entry.get("foreign", ())])
    return Folder(
        name=name,
        about=entry["about"],
        guest=guests[entry.get("guest", "plain")],
        cpus=entry.get("cpus", 4),
        seconds=float(entry["seconds"]),
        test=test,
        rest=tuple(k for k in rest if k not in test),
        reason=entry.get("reason", ""),
        instead=entry.get("instead", ""),
        own_guest=entry.get("own_guest", False),
        alone=entry.get("alone", False),
        figures=entry.get("figures", False),
        prepare=tuple(entry.get("prepare", ())),
    )


@cache
def load() -> Plan:
    data = tomllib.loads(DATA.read_text())
    guests = {
        name: GuestKind(
            name,
            tuple(entry.get("options", ())),
            tuple(entry.get("prepare", ())),
            entry.get("python", "build/venv/bin/python"),
            entry.get("direct", False),
            entry.get("steady", False),
        )
        for name, entry in data["guest"].items()
    }
    return Plan(
        folders={name: _folder(name, entry, guests) for name, entry in data["vm"].items()},
        extras=tuple(Extra(name, **entry) for name, entry in data["extra"].items()),
        fuzz_s=data["fuzz"],
        host_s=data["host"],
        guests=guests,
    )


def batches(
    kernel: str, folders: Iterable[Folder], seconds: dict[str, float], limit_s: float = 0.0
) -> list[Batch]:
    """Pack folders of the same kind of guest, in the order of the data; the batch that takes longest comes first."""
    open_batches: dict[tuple[str, int, bool], list[Folder]] = {}
    closed: list[list[Folder]] = []

    def total(group: list[Folder]) -> float:
        return sum(seconds.get(folder.name, folder.seconds) for folder in group)

    for folder in folders:
        if folder.own_guest:
            closed.append([folder])
            continue
        key = (folder.guest.name, folder.cpus, folder.alone)
        group = open_batches.setdefault(key, [])
        limit = limit_s or (STEADY_BATCH_S if folder.guest.steady else BATCH_S)
        if group and total([*group, folder]) > limit:
            closed.append(group)
            group = open_batches[key] = []
        group.append(folder)
    groups = [*closed, *(group for group in open_batches.values() if group)]
    return [Batch(kernel, tuple(group)) for group in sorted(groups, key=total, reverse=True)]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults in random order for a long time, and two hundred cycles of everything. By name: `make test-soak`."""

from __future__ import annotations

import os
import random
import re
import time

import pytest

from scx_gamer.leakcheck import check, memory
from scx_gamer.libbpf import kernel
from tests.vm.faults.actions import FAULTS, Patient, keep, mix
from tests.vm.harness import directories, start_supervisor

SEED = int(os.environ.get("SCX_GAMER_SOAK_SEED") or random.randrange(2**32))
SECONDS = float(os.environ.get("SCX_GAMER_SOAK_S") or 900)
CYCLES = int(os.environ.get("SCX_GAMER_SOAK_CYCLES") or 200)
ROUND = len(FAULTS)
# The limit that every other test has is shorter than any of these; whoever starts the guest sets its own.
pytestmark = pytest.mark.timeout(0)


def settled_objects() -> dict[str, int]:
    """BPF objects by kind, after those of the generation before are gone."""
    best: dict[str, int] = {}
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        found = {kind: len(kernel.names(kind)) for kind in ("prog", "map", "link", "btf")}
        best = found if not best or sum(found.values()) < sum(best.values()) else best
        time.sleep(0.2)
    return best


def test_faults_at_random() -> None:
    print(f"\nSEED {SEED}, {SECONDS:g} s", flush=True)
    end = time.monotonic() + SECONDS
    done: dict[str, int] = {}
    with directories() as root, check.Complaints() as complaints:
        patient = Patient.admit(root)
        try:
            before = settled_objects()
            resident: dict[int, list[int]] = {}
            generation = patient.generation()
            for name in mix(random.Random(SEED)):
                if time.monotonic() > end:
                    break
                began = time.monotonic()
                FAULTS[name](patient)
                done[name] = done.get(name, 0) + 1
                status = patient.sup.status()
                assert status["state"] == "attached" and status["failures"] == 0, (name, status)
                assert status["generation"] >= generation, (name, generation)
                generation = int(status["generation"])
                exits = patient.sup.ask("snapshot")["counters"]["exits"]
                bad = {kind: n for kind, n in exits.items() if re.search("error|stall", kind)}
                assert not bad, f"thrown out after {name}: {bad}"
                assert complaints.new() == [], name
                resident.setdefault(patient.sup.pid, []).append(patient.sup.rss_kb())
                print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
            after = settled_objects()
            assert after == before
            assert "Traceback" not in patient.sup.text()
        except BaseException:
            print(patient.sup.text())
            raise
        finally:
            patient.discharge()
    print(f"faults: {done}; generations: {generation}; resident kB by process: {resident}")
    for sizes in resident.values():
        # What a fault needs for the first time is 3 % of all.
        assert max(sizes) < 1.06 * sizes[0], sizes
    longest = max(resident.values(), key=len)
    rise = memory.slope(longest[ROUND:])  # each fault was there once
    print(f"resident rise of the longest life: {rise:.1f} kB a fault over {len(longest)} faults")
    assert rise < 16


def test_two_hundred_cycles_are_flat() -> None:
    report = check.run(CYCLES)
    print(f"\n{report}")
    keep(
        f"resident rise over {CYCLES} attach and detach cycles, kB a cycle",
        report.figures["resident"],
    )
    assert report.verdict == "clean", report.findings


def test_two_hundred_restarts_are_flat() -> None:
    with start_supervisor() as sup:
        for _ in range(5):
            sup.ask("restart")
        before, sizes = settled_objects(), []
        fds, threads = (len(os.listdir(f"/proc/{sup.pid}/{kind}")) for kind in ("fd", "task"))
        for _ in range(CYCLES):
            assert sup.ask("restart")["state"] == "attached"
            sizes.append(sup.rss_kb())
        rise = memory.slope(sizes)
        print(f"\nresident {sizes[0]} to {sizes[-1]} kB, {rise:.2f} kB a restart")
        keep(f"resident rise over {CYCLES} restarts, kB a restart", rise)
        assert settled_objects() == before
        assert len(os.listdir(f"/proc/{sup.pid}/fd")) == fds
        assert len(os.listdir(f"/proc/{sup.pid}/task")) == threads
        assert rise < 4

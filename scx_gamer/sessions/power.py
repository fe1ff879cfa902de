# SPDX-License-Identifier: GPL-2.0-or-later
"""Energy of the machine: of the CPU packages by RAPL where it is readable, else of the battery while it discharges.

RAPL's counters are readable by root alone since Linux 5.10 (949dd0104c49, "powercap: restrict energy meter to root
access"), because they are a side channel; the unit's user reads them with the drop-in closed-files.conf only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from scx_gamer.sessions.record import Power
from scx_gamer.system.files import read_number, read_text

_MAX_PACKAGES = 16
_STALE_S = 120.0  # a gap of more is a suspend: what was used meanwhile is not the game's
_WH = 3600.0


class PowerMeter:
    """Adds up energy from read() to read(), which must follow within a wrap of RAPL's counters (a minute at 4 kW)."""

    def __init__(
        self, sysfs: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._packages = _packages(sysfs / "class/powercap")
        self._batteries = [
            path
            for path in sorted((sysfs / "class/power_supply").glob("BAT*"))[:_MAX_PACKAGES]
            if read_text(path / "scope") != "Device"  # of a mouse or a pad
        ]
        self.source = "rapl" if self._packages else "battery" if self._batteries else ""
        self._before: tuple[float, list[float]] | None = None
        self._joules = self._seconds = 0.0

    def read(self) -> Power | None:
        """Return the energy so far; None without a source, or before it has said anything twice."""
        if not self.source:
            return None
        values = self._rapl() if self._packages else self._battery()
        now_s = self._clock()
        before, self._before = self._before, (now_s, values) if values else None
        if before is not None and values and now_s - before[0] <= _STALE_S:
            self._joules += sum(
                self._used(number, old, new)
                for number, (old, new) in enumerate(zip(before[1], values, strict=True))
            )
            self._seconds += now_s - before[0]
        return Power(self.source, self._joules, self._seconds) if self._seconds else None

    def _used(self, number: int, old: float, new: float) -> float:
        """Return the joules from one value of a source to the next."""
        if not self._packages:
            return max(0.0, old - new)
        span = self._packages[number][1]
        return (new - old) % span if span else max(0.0, new - old)

    def _rapl(self) -> list[float]:
        values = [read_number(path / "energy_uj") for path, _ in self._packages]
        return [] if None in values else [value / 1e6 for value in values if value is not None]

    def _battery(self) -> list[float]:
        """Return the joules in each battery; empty unless one discharges and none charges."""
        states = [read_text(path / "status") for path in self._batteries]
        if "Discharging" not in states or "Charging" in states:
            return []
        values = [_charge_j(path) for path in self._batteries]
        return [] if None in values else [value for value in values if value is not None]


def _packages(powercap: Path) -> list[tuple[Path, float]]:
    """Return the folder and the range in joules of each CPU package whose counter is readable."""
    found = []
    for path in sorted(powercap.glob("intel-rapl:*"))[: 4 * _MAX_PACKAGES]:
        package = (read_text(path / "name") or "").startswith("package-")
        if package and read_number(path / "energy_uj") is not None:
            found.append((path, (read_number(path / "max_energy_range_uj") or 0) / 1e6))
    return found[:_MAX_PACKAGES]


def _charge_j(battery: Path) -> float | None:
    energy_uwh = read_number(battery / "energy_now")
    if energy_uwh is not None:
        return energy_uwh / 1e6 * _WH
    charge_uah = read_number(battery / "charge_now")
    voltage_uv = read_number(battery / "voltage_now")
    if charge_uah is None or voltage_uv is None:
        return None
    return charge_uah / 1e6 * voltage_uv / 1e6 * _WH

# SPDX-License-Identifier: GPL-2.0-or-later
"""The active profile, and its values in the kernel's map. Nothing here detaches or reloads a scheduler."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scx_gamer.config.network import NetworkSettings, settings_of
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.config.settings import ConfigError
from scx_gamer.config.toml import Document
from scx_gamer.observe.control_ring import Sender
from scx_gamer.profiles import (
    AUTO,
    Game,
    Profile,
    ProfileError,
    ProfileSet,
    folders,
    load,
    of_documents,
)
from scx_gamer.profiles.schema import Limits

log = logging.getLogger(__name__)

FAILURES = 2  # errors of the scheduler under one profile, and no other, that disable it


class ActiveProfile:
    """The choice among the profiles: by the user (`chosen`), a program's hold, the games, and failures."""

    def __init__(
        self,
        feed: Sender,
        constants: Mapping[str, int],
        limits: Limits,
        base: SupervisorOptions,
        read_base: Callable[[], SupervisorOptions],
        on_change: Callable[[str], None],
        where: tuple[Path, Path] | None = None,
    ) -> None:
        """Begin with `base`, which holds without a profile; reload() calls `read_base`, which may raise ConfigError.

        `on_change(cause)` is called after another profile, or another mode, came into force.
        """
        self._feed = feed
        self._limits = limits
        self._read_base = read_base
        self._on_change = on_change
        self._where = where or folders()
        self._index = {
            name.removeprefix("SCXG_TUN_").lower(): number
            for name, number in constants.items()
            if name.startswith("SCXG_TUN_")
        }
        self._defaults = {name: constants[f"SCXG_DEF_{name.upper()}"] for name in self._index}
        self._base = base
        self._games: tuple[Game, ...] = ()
        self._battery = False
        self._failed: list[str] = []  # the profile of each error since the last good word
        self._sent: dict[str, int] = {}
        self._trial: dict[str, int] = {}  # of a comparison; never outlives it
        self.disabled: dict[str, str] = {}
        self.base_error: ConfigError | None = None
        self.reloads = {"ok": 0, "failed": 0}
        self.changes = 0
        self.chosen = AUTO
        self.held: tuple[str, str] = ("", "")  # profile and reason of a program's hold
        self.profiles = load(limits, *self._where)
        self.active: Profile | None = None
        self.why = ""
        for error in self.profiles.errors:
            log.error("profile left out: %s", error)

    # ---- queries -------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        mode = self.active.mode if self.active else None
        return mode or self._base.mode

    @property
    def input_lanes(self) -> Mapping[str, str]:
        """The administrator's lanes of devices."""
        return self._base.input_lanes

    @property
    def name(self) -> str:
        return self.active.name if self.active else AUTO

    def values(self) -> dict[str, int]:
        """Return every tunable as it should be in the kernel."""
        own = self.active.tunables if self.active else {}
        return {**self._defaults, **self._base.tunables, **own, **self._trial}

    def network(self) -> NetworkSettings | None:
        """Return the limits of background traffic while a game runs; None without any."""
        if not self._base.network:
            return None
        own = self.active.section("network") if self.active else {}
        return settings_of({**self._base.network, **own})

    @property
    def power(self) -> str:
        """The power profile to hold while a game runs; empty for none."""
        own = self.active.section("power") if self.active else {}
        found = str(own.get("profile", self._base.power))
        return "" if found == "none" else found

    @property
    def resources(self) -> dict[str, int]:
        """The memory to protect and the background's share of the disk while a game runs, by key of [resources]."""
        own = self.active.section("resources") if self.active else {}
        return {**self._base.resources, **{k: v for k, v in own.items() if isinstance(v, int)}}

    @property
    def follows_power_source(self) -> bool:
        """Return True if the choice depends on whether the machine runs on battery."""
        return self._base.on_battery != "none"

    def errors(self) -> tuple[ConfigError, ...]:
        base = (self.base_error,) if self.base_error else ()
        return (*base, *self.profiles.errors)

    # ---- changes -------------------------------------------------------------------------------

    def start(self, chosen: str) -> None:
        """Make the first choice, `chosen` being the last run's; log if that profile is gone."""
        if chosen:
            try:
                self.profiles.get(chosen)
                self.chosen = chosen
            except ProfileError as err:
                log.error("the chosen profile cannot be used, taking %s: %s", AUTO, err)
        self._choose()

    def choose(self, name: str) -> None:
        """Use `name` from here on, and forget its failures. Raises ProfileError."""
        self.profiles.get(name)
        self.chosen = name
        self.disabled.pop(name, None)
        self._failed.clear()
        self._choose()

    def hold(self, name: str, reason: str) -> None:
        """Use the profile that a program holds; an empty name ends the hold."""
        self.held = (name, reason)
        self._choose()

    def set_games(self, games: Sequence[Game]) -> None:
        """Choose by the processes of the running games, the game that decides first."""
        self._games = tuple(games)
        self._choose()

    def try_out(self, tunables: Mapping[str, object]) -> dict[str, int]:
        """Put tunables in force before those of every profile, and return them; an empty mapping ends that.

        Raises ProfileError.
        """
        document = Document("trial", {"tunables": dict(tunables)}, "")
        self._trial = of_documents("trial", [document], self._limits).tunables
        self._send_changed()
        return self._trial

    def set_on_battery(self, on_battery: bool) -> None:
        """Choose by the power source."""
        self._battery = on_battery
        self._choose()

    def reload(self, cause: str) -> bool:
        """Read configuration and profiles again; keep the old where the new is wrong, and return False then."""
        before = self.errors()
        try:
            self._base = self._read_base()
            self.base_error = None
        except ConfigError as err:
            self.base_error = err
        self.profiles = load(self._limits, *self._where, before=self.profiles)
        if self.chosen not in self.profiles.profiles and self.chosen != AUTO:
            log.error("profile %s is gone, taking %s", self.chosen, AUTO)
            self.chosen = AUTO
        self.disabled.clear()
        self._failed.clear()
        errors = self.errors()
        for error in errors:
            if str(error) not in {str(e) for e in before}:
                log.error("kept as it was: %s", error)
        good = not errors
        self.reloads["ok" if good else "failed"] += 1
        log.info(
            "profiles read again (%s): %d usable, %d errors",
            cause,
            len(self.profiles.profiles),
            len(errors),
        )
        self._choose()
        return good

    def scheduler_failed(self, name: str) -> None:
        """Count an error of the scheduler under the profile `name`; some in a row under it disable the profile."""
        self._failed.append(name)
        if name == AUTO or self._failed[-FAILURES:] != [name] * FAILURES:
            return
        self.disabled[name] = f"{FAILURES} errors of the scheduler in a row while it was active"
        log.error(
            "profile %s is disabled: %s; `scx-gamer profiles set` tries it again",
            name,
            self.disabled[name],
        )
        self._choose()

    # ---- choice --------------------------------------------------------------------------------

    def _choose(self) -> None:
        mode = self.mode
        before, self.active = self.active, None
        self.active, self.why = self._wanted()
        self._send_changed()
        if before is None or self.name != before.name or self.mode != mode:
            self.changes += 1
            log.info("profile %s: %s", self.name, self.why)
            self._on_change(f"profile {self.name}")

    def _wanted(self) -> tuple[Profile | None, str]:
        auto = self.profiles.profiles.get(AUTO)
        held, reason = self.held
        if held in self.profiles.profiles and held not in self.disabled:
            return self.profiles.profiles[held], f"held by a program: {reason}"
        if self.chosen != AUTO:
            if self.chosen not in self.disabled:
                return self.profiles.profiles[self.chosen], "set by the user"
            return auto, f"{self.chosen} is disabled: {self.disabled[self.chosen]}"
        usable = {n: p for n, p in self.profiles.profiles.items() if n not in self.disabled}
        if self._battery and self._base.on_battery in usable:
            return usable[self._base.on_battery], "the machine runs on battery"
        found = ProfileSet(usable).find(list(self._games))
        if found is not None:
            return found.profile, f"{found.how} {found.what} of the game that runs"
        return auto, "no profile is for the game that runs" if self._games else "no game runs"

    # ---- kernel's map --------------------------------------------------------------------------

    def _send_changed(self) -> None:
        """Send the values that changed; the kernel has them when this returns."""
        for name, value in self.values().items():
            if self._sent.get(name) != value:
                self._feed.send("TUNABLE", index=self._index[name], value=value)
                self._sent[name] = value
        self._feed.flush()

    def send_all(self) -> None:
        """Send every value again, for a new generation."""
        self._sent.clear()
        self._send_changed()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: TOML files merged into one validated, frozen Config.

Files are merged key by key in this order, and later files override earlier ones: the shipped config.toml, the admin's
config.toml, then conf.d/*.toml sorted by name. The shipped file holds every key and is the only place of a default.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from scx_gamer.config import network, toml
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.config.rules import FLAG, Rule, choice, number
from scx_gamer.config.toml import ConfigError, Document, suggest
from scx_gamer.system.text import printable

MODES = ("auto", "always")
POWER_PROFILES = ("none", "performance", "power-saver")  # what power-profiles-daemon can hold
RESOURCES = {"memory_low_mb": number(0, 1 << 20), "background_io_weight": number(1, 100)}
LANES = ("none", "keyboard", "mouse", "gamepad")
PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,63}")
MAX_LANES, MAX_DEVICE_NAME = 64, 80  # of [input] lanes: entries, and characters of a device's name
__all__ = [
    "MODES", "Config", "ConfigError", "config_dir", "limits", "load", "tunable_limits",
    "vendor_file",
]  # fmt: skip


@dataclass(frozen=True)
class Config(SupervisorOptions):
    """The merged configuration: the supervisor's options, and the files that say so."""

    files: tuple[Path, ...] = ()
    _where: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def with_mode(self, mode: str) -> Config:
        """Return a copy with the mode of the command line."""
        return replace(self, mode=mode, mode_fixed=True)

    def check_tunables(self, constants: Mapping[str, int]) -> None:
        """Raise ConfigError for a tunable outside the limits of abi.h. `constants` are its enumerators, SCXG_ names."""
        for name, value in self.tunables.items():
            where = self._where.get(f"tunables.{name}", "config")
            try:
                low, high = limits(name, constants)
            except KeyError:
                raise ConfigError(
                    where,
                    f"unknown tunable {name}",
                    "the BPF objects lack it: install scx-gamer again",
                ) from None
            if not low <= value <= high:
                raise ConfigError(
                    where, f"tunables.{name} is {value}", f"use a value from {low} to {high}"
                )


def limits(name: str, constants: Mapping[str, int]) -> tuple[int, int]:
    """Return the lowest and highest value of a tunable. Raises KeyError for a name that abi.h lacks."""
    upper = name.upper()
    return constants[f"SCXG_MIN_{upper}"], constants[f"SCXG_MAX_{upper}"]


def _is_loopback(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return ipaddress.ip_address(value).is_loopback
    except ValueError:
        return False


def _is_lanes(value: object) -> bool:
    """Return True for a table of a bounded number of devices, each with a lane."""
    return (
        isinstance(value, dict)
        and len(value) <= MAX_LANES
        and all(len(name) <= MAX_DEVICE_NAME for name in value)
        and all(isinstance(lane, str) and lane in LANES for lane in value.values())
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and PROFILE_NAME.fullmatch(value) is not None


_RULES = {
    "mode": choice(*MODES),
    "metrics.enabled": FLAG,
    "metrics.address": Rule(_is_loopback, 'use a loopback address such as "127.0.0.1"'),
    "metrics.port": number(1, 65535),
    "dbus.enabled": FLAG,
    "input.kernel_path": FLAG,
    "input.lanes": Rule(
        _is_lanes,
        f'use at most {MAX_LANES} entries such as "046d:c52b" = "mouse", with a lane of {", ".join(LANES)}',
    ),
    "games.all_users": FLAG,
    "games.visible_to": choice("seat", "all"),
    "sessions.keep": choice("on", "off"),
    "sessions.days": number(1, 3650),
    "sessions.size_mb": number(1, 1024),
    "power.profile": choice(*POWER_PROFILES),
    "power.on_battery": Rule(_is_name, 'use the name of a profile, such as "powersave", or "none"'),
    **{f"network.{key}": rule for key, rule in network.RULES.items()},
    **{f"resources.{key}": rule for key, rule in RESOURCES.items()},
}
_COUNT = number(0, (1 << 63) - 1, "use a whole number, 0 or more")
_TABLES = (
    "metrics",
    "dbus",
    "input",
    "games",
    "sessions",
    "network",
    "power",
    "resources",
    "tunables",
)


def tunable_limits(constants: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return the lowest and highest value of each tunable of abi.h. `constants` are its enumerators."""
    names = [n.removeprefix("SCXG_TUN_").lower() for n in constants if n.startswith("SCXG_TUN_")]
    return {name: limits(name, constants) for name in names}


def vendor_file() -> Path:
    """Return the shipped config.toml: of the source checkout, the wheel or this prefix, else of the system."""
    package = Path(__file__).resolve().parents[1]
    prefix = package.parents[2] if len(package.parents) > 2 else package
    for path in (
        package.parent / "profiles",
        package / "profiles_data",
        prefix / "share/scx-gamer",
    ):
        if (path / "config.toml").is_file():
            return path / "config.toml"
    return Path("/usr/share/scx-gamer/config.toml")


def config_dir() -> Path:
    """Return the directory of the admin's files."""
    return Path(os.environ.get("SCX_GAMER_CONFIG_DIR") or "/etc/scx-gamer")


def load(directory: Path | None = None, vendor: Path | None = None) -> Config:
    """Read, merge and validate the configuration. Raises ConfigError for the first mistake."""
    shipped = vendor or vendor_file()
    admin = directory or config_dir()
    # The default directory may be absent; one named by --config may not.
    if admin != config_dir() and not admin.is_dir():
        raise ConfigError(
            printable(str(directory)),
            "is not a directory",
            "give an existing directory to --config",
        )
    values, where = _read(shipped, known_tunables=None)
    missing = sorted(set(_RULES) - set(values))
    if missing:
        raise ConfigError(str(shipped), f"lacks {missing[0]}", "install scx-gamer again")
    tunables = frozenset(k.removeprefix("tunables.") for k in values if k.startswith("tunables."))
    files = [shipped]
    for path in _admin_files(shipped, admin):
        more, more_where = _read(path, known_tunables=tunables)
        values.update(more)
        where.update(more_where)
        files.append(path)
    address, port = _text(values["metrics.address"]), values["metrics.port"]
    host = f"[{address}]" if ":" in address else address
    return Config(
        mode=_text(values["mode"]),
        kernel_input=values["input.kernel_path"] is True,
        input_lanes=_lanes(values["input.lanes"]),
        all_users=values["games.all_users"] is True,
        games_visible_to=_text(values["games.visible_to"]),
        metrics_address=f"{host}:{port}" if values["metrics.enabled"] is True else "",
        # a supervisor in directories of its own is not the one on the bus
        bus=values["dbus.enabled"] is True and not os.environ.get("SCX_GAMER_RUNTIME_DIR"),
        tunables=MappingProxyType(
            {name: _number(values[f"tunables.{name}"]) for name in sorted(tunables)}
        ),
        config_dir=str(admin),
        network=MappingProxyType({key: values[f"network.{key}"] for key in network.RULES}),
        power=_text(values["power.profile"]),
        on_battery=_text(values["power.on_battery"]),
        resources=MappingProxyType({key: _number(values[f"resources.{key}"]) for key in RESOURCES}),
        sessions=values["sessions.keep"] == "on",
        session_days=_number(values["sessions.days"]),
        session_mb=_number(values["sessions.size_mb"]),
        files=tuple(files),
        _where=MappingProxyType(where),
    )


def _text(value: object) -> str:
    assert isinstance(value, str)  # checked by its rule
    return value


def _lanes(value: object) -> Mapping[str, str]:
    assert isinstance(value, dict)  # a rule let it through
    return MappingProxyType(dict(value))


def _number(value: object) -> int:
    assert isinstance(value, int)  # checked by its rule
    return value


def _admin_files(shipped: Path, admin: Path) -> list[Path]:
    """Return config.toml, then the drop-ins. An admin's drop-in masks the vendor's of the same name."""
    main = [admin / "config.toml"] if os.path.lexists(admin / "config.toml") else []
    return main + toml.drop_ins(shipped.parent / "conf.d", admin / "conf.d")


def _read(
    path: Path, known_tunables: frozenset[str] | None
) -> tuple[dict[str, object], dict[str, str]]:
    """Return flat key -> value and key -> "file:line" of one file. Raises ConfigError."""
    document = toml.read(path)
    values: dict[str, object] = {}
    where: dict[str, str] = {}
    for keys, value in _flatten(document):
        place = document.place(*keys)
        # quote a key that contains a dot: the dot is not a table separator
        key = ".".join(f'"{k}"' if "." in k else k for k in keys)
        _check(key, value, place, known_tunables)
        values[key] = value
        where[key] = place
    return values, where


def _flatten(document: Document) -> list[tuple[tuple[str, ...], object]]:
    flat: list[tuple[tuple[str, ...], object]] = []
    for key, value in document.tree.items():
        if key not in _TABLES:
            flat.append(((key,), value))
        elif isinstance(value, dict):
            flat.extend(((key, name), inner) for name, inner in value.items())
        else:
            place = document.place(key)
            raise ConfigError(
                place, f"{key} must be a table", f"write [{key}] on a line of its own"
            )
    return flat


def _check(key: str, value: object, place: str, known_tunables: frozenset[str] | None) -> None:
    rule = _RULES.get(key)
    name = key.removeprefix("tunables.")
    if rule is None and name != key and (known_tunables is None or name in known_tunables):
        rule = _COUNT
    if rule is None:
        known = [*_RULES, *(f"tunables.{n}" for n in known_tunables or ())]
        raise ConfigError(place, f"unknown key {printable(key, 64)}", suggest(key, known))
    rule.check(key, value, place)

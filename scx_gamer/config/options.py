# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the supervisor, made from the configuration and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SupervisorOptions:
    """All options. The defaults are those of an installed system."""

    mode: str = "auto"  # "auto": attached while a game is known; "always"
    kernel_input: bool = True  # use the BPF input hook where it loads
    input: bool = True
    detection: bool = True  # find games by rules as well as by name
    all_users: bool = False  # games of users without a seat count too
    games_visible_to: str = "seat"  # who sees the games of others: "seat" or "all"
    process_source: str = "auto"  # source of process events: auto, bpf, netlink or poll
    metrics_address: str = ""  # HOST:PORT; empty disables the exporter
    bus: bool = False  # offer the service on the system bus
    backoff_s: tuple[float, ...] = (5.0, 30.0, 120.0)
    budget: int = 3  # failures within budget_window_s, then fallback
    budget_window_s: float = 600.0
    settle_s: float = 0.05  # without CPU hotplug, before the load of a restart
    settle_max_s: float = 8.0  # longest wait for the end of a burst of hotplug
    conflict_free_s: float = 5.0  # without another scheduler, before ours is attached after it
    quick_restart_s: float = 1.0  # an attachment shorter than this lengthens the next settle time
    tunables: Mapping[str, int] = field(default_factory=dict)  # by lower-case name of scxg_tunable
    config_dir: str = ""  # read again on SIGHUP; empty: no configuration files
    mode_fixed: bool = False  # set by the command line, so files do not change it
    network: Mapping[str, object] = field(default_factory=dict)  # by key; empty: no limits
    power: str = "none"  # power profile to hold while a game runs
    on_battery: str = "none"  # profile of ours while the machine runs on battery
    # [resources] by key; empty: nothing is held.
    resources: Mapping[str, int] = field(default_factory=dict)
    input_lanes: Mapping[str, str] = field(default_factory=dict)  # [input] lanes
    sessions: bool = True  # record the sessions of games
    session_days: int = 365  # age at which a record is deleted
    session_mb: int = 64  # size at which the oldest are
    session_every_s: float = 20.0  # from one write of a running session to the next

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "always"):
            raise ValueError(f"mode is {self.mode!r}: use auto or always")

# SPDX-License-Identifier: GPL-2.0-only
"""What the supervisor can be told; the configuration is turned into this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SupervisorOptions:
    """Defaults are those of an installed system."""

    mode: str = "auto"  # "auto": attached while a game is known; "always"
    kernel_input: bool = True  # let the kernel open input windows where it can
    input: bool = True
    detection: bool = True  # games are found by rules, not only by name
    process_source: str = "auto"  # where process events come from; else bpf, netlink or poll
    metrics_address: str = ""  # HOST:PORT; empty: no exporter
    bus: bool = False  # offer the service on the system bus
    backoff_s: tuple[float, ...] = (5.0, 30.0, 120.0)
    budget: int = 3  # failures within budget_window_s, then fallback
    budget_window_s: float = 600.0
    settle_s: float = 0.5  # before a restart that the kernel asked for
    quick_restart_s: float = 10.0  # a life shorter than this makes the next settle longer
    tunables: dict[str, int] = field(default_factory=dict)  # names as in enum scxg_tunable
    config_dir: str = ""  # read again on SIGHUP; empty: the values above are all there is
    mode_fixed: bool = False  # the command line said it
    network: Mapping[str, object] = field(default_factory=dict)  # [network]; empty: no limits
    input_lanes: Mapping[str, str] = field(default_factory=dict)  # [input] lanes

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "always"):
            raise ValueError(f"mode is {self.mode!r}: give auto or always")

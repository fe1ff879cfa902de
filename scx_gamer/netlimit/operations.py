# SPDX-License-Identifier: GPL-2.0-or-later
"""Control socket operations of the traffic limiter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scx_gamer.config import network
from scx_gamer.config.network import Limit, UnitError
from scx_gamer.control import ControlError
from scx_gamer.control.operations import Handler
from scx_gamer.netlimit.errors import NetError
from scx_gamer.netlimit.limiter import TrafficLimiter
from scx_gamer.system.exit_codes import FAILED, USAGE


def operations(limiter: TrafficLimiter) -> dict[str, Handler]:
    """Return the calls of the operations net_*."""

    def translated(call: Callable[[Mapping[str, Any]], Any]) -> Handler:
        """Wrap `call` so that its errors become ControlErrors."""

        def wrapped(request: Mapping[str, Any], _uid: int) -> Any:
            try:
                return call(request)
            except UnitError as err:
                raise ControlError(str(err), USAGE) from err
            except NetError as err:
                raise ControlError(str(err), FAILED, err.errno) from err

        return wrapped

    return {
        "net_status": lambda _request, _uid: limiter.status(),
        "net_limit": translated(lambda request: _limit(limiter, request)),
        "net_release": translated(lambda request: _release(limiter, request)),
        "net_measure": translated(lambda _request: limiter.measure()),
    }


def _limit(limiter: TrafficLimiter, request: Mapping[str, Any]) -> dict[str, object]:
    down = network.parse_rate(_text(request, "down", "unlimited"))
    up = network.parse_rate(_text(request, "up", "unlimited"))
    if not down and not up:
        raise ControlError("no rate was given: use --down, --up or both", USAGE)
    scope, kind = _text(request, "scope", "internet"), _text(request, "kind", "cgroup")
    if scope not in network.SCOPES:
        raise ControlError(f"unknown scope: use one of {', '.join(network.SCOPES)}", USAGE)
    if kind not in network.KINDS:
        raise ControlError(f"unknown kind: use one of {', '.join(network.KINDS)}", USAGE)
    lasts = _text(request, "for", "")
    for_s = network.parse_time(lasts) if lasts else None
    target = network.parse_cli_target(_text(request, "target", ""))
    return limiter.limit(target, Limit(down, up, scope, kind), for_s)


def _release(limiter: TrafficLimiter, request: Mapping[str, Any]) -> dict[str, object]:
    text = _text(request, "target", "")
    target = network.parse_cli_target(text) if text else None
    count = limiter.release(target)
    if target is not None and not count:
        raise ControlError(f"{target} has no limit of the user: see `scx-gamer net status`", FAILED)
    return {"released": count}


def _text(request: Mapping[str, Any], name: str, default: str) -> str:
    value = request.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ControlError(f"{name} must be a string", USAGE)
    return value

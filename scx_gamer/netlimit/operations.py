# SPDX-License-Identifier: GPL-2.0-only
"""What the control socket offers of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scx_gamer.config import network
from scx_gamer.config.network import Limit, UnitError
from scx_gamer.control import ControlError
from scx_gamer.control.operations import Handler
from scx_gamer.netlimit.errors import NetError
from scx_gamer.netlimit.limiter import NetRoom
from scx_gamer.system.exit_codes import FAILED, USAGE


def operations(room: NetRoom) -> dict[str, Handler]:
    """Return the calls of the operations net_*."""

    def told(call: Callable[[Mapping[str, Any]], Any]) -> Handler:
        def wrapped(request: Mapping[str, Any], _uid: int) -> Any:
            try:
                return call(request)
            except UnitError as err:
                raise ControlError(str(err), USAGE) from err
            except NetError as err:
                raise ControlError(str(err), FAILED, err.errno) from err

        return wrapped

    return {
        "net_status": lambda _request, _uid: room.status(),
        "net_limit": told(lambda request: _limit(room, request)),
        "net_release": told(lambda request: _release(room, request)),
        "net_measure": told(lambda _request: room.measure()),
    }


def _limit(room: NetRoom, request: Mapping[str, Any]) -> dict[str, object]:
    down = network.parse_rate(_text(request, "down", "unlimited"))
    up = network.parse_rate(_text(request, "up", "unlimited"))
    if not down and not up:
        raise ControlError("there is nothing to limit: give a rate for --down or --up", USAGE)
    scope, kind = _text(request, "scope", "internet"), _text(request, "kind", "cgroup")
    if scope not in network.SCOPES:
        raise ControlError(f"scope is one of {', '.join(network.SCOPES)}", USAGE)
    if kind not in network.KINDS:
        raise ControlError(f"kind is one of {', '.join(network.KINDS)}", USAGE)
    lasts = _text(request, "for", "")
    for_s = network.parse_time(lasts) if lasts else None
    target = network.parse_cli_target(_text(request, "target", ""))
    return room.limit(target, Limit(down, up, scope, kind), for_s)


def _release(room: NetRoom, request: Mapping[str, Any]) -> dict[str, object]:
    text = _text(request, "target", "")
    target = network.parse_cli_target(text) if text else None
    count = room.release(target)
    if target is not None and not count:
        raise ControlError(f"{target} has no limit of yours: see `scx-gamer net status`", FAILED)
    return {"released": count}


def _text(request: Mapping[str, Any], name: str, default: str) -> str:
    value = request.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ControlError(f"{name} is a text", USAGE)
    return value

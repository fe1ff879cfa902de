# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's main program: it selects the adapters of the session and runs them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from scx_gamer.agent.desktop import Desktop, names_a_session
from scx_gamer.agent.gamemode import GameMode
from scx_gamer.agent.memory import GameMemory
from scx_gamer.agent.model import Adapter, AgentError, Environment
from scx_gamer.agent.notice import Notice, SessionNotice
from scx_gamer.agent.overlay import OverlayLine, copy_of
from scx_gamer.agent.reporter import Reporter
from scx_gamer.dbus import SYSTEM_BUS
from scx_gamer.system.paths import paths
from scx_gamer.system.text import printable

log = logging.getLogger(__name__)

_BACKOFF_S = (1.0, 5.0, 30.0)
NOTICES = ("all", "start", "end", "none")  # about games


def adapters(env: Environment, notices: str = "all") -> list[Adapter]:
    """Return all adapters of the session, with `notices` about games."""
    found: list[Adapter] = []
    if names_a_session(env):
        found.append(Desktop(env))
        if env.get("HOME"):
            found.append(OverlayLine(paths().hud_file, copy_of(env)))
    if session := env.get("DBUS_SESSION_BUS_ADDRESS"):
        system = env.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
        found += [GameMode(session), Notice(session, system)]
        if runtime := env.get("XDG_RUNTIME_DIR"):
            file = Path(runtime) / "scx-gamer-units.json"
            found.append(GameMemory(session, system, file))
        at_start, at_end = notices in ("all", "start"), notices in ("all", "end")
        if at_start or at_end:
            found.append(SessionNotice(session, system, at_start=at_start, at_end=at_end))
    return found


async def keep(adapter: Adapter, reporter: Reporter) -> None:
    """Run an adapter until cancelled, with a growing pause after each failure. Repeated errors are logged once."""
    failures, logged = 0, ""
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await adapter.run(reporter.report)
        except AgentError as err:
            if asyncio.get_running_loop().time() - began > _BACKOFF_S[-1]:
                failures = 0
            if str(err) != logged:
                log.warning("%s: %s", adapter.name, printable(str(err)))
                logged = str(err)
        await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
        failures += 1


async def serve(found: Sequence[Adapter], reporter: Reporter) -> None:
    """Run adapters and reporter until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(keep(adapter, reporter)) for adapter in found]
    tasks.append(asyncio.create_task(reporter.run()))
    group = asyncio.gather(*tasks)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, group.cancel)
    with suppress(asyncio.CancelledError):
        await group


def main(notices: str = "all") -> int:
    """Run the agent and return its exit code, which is 0 without an adapter: systemd would restart it in vain."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    found = adapters(os.environ, notices)
    if not found:
        log.info(
            "no adapter: the environment names no session: no runtime directory, X server or session bus"
        )
        return 0
    log.info("reading events of %s", ", ".join(adapter.name for adapter in found))

    async def run() -> None:
        await serve(found, Reporter(paths().hints_socket))

    asyncio.run(run())
    return 0

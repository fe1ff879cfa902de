# SPDX-License-Identifier: GPL-2.0-only
"""One cycle of the real thing: load, attach, feed, run a moment, detach, unload."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from scx_gamer import topology
from scx_gamer.loop import Loop
from scx_gamer.machine import AttachBusy, AttachFailed, AttachUnsupported
from scx_gamer.observe import Observe
from scx_gamer.scheduler import SchedulerLife

RUN_S = 0.1


class CycleError(Exception):
    """A cycle that did not come to its end: nothing can be said about leaks."""


def one(generation: int, run_s: float = RUN_S) -> None:
    """Everything acquired here is released when it returns. Raises CycleError, BpfError."""
    with ExitStack() as stack:
        loop = stack.enter_context(Loop())
        observe = Observe(loop)
        stack.callback(observe.close)
        observe.set_generation(generation)
        observe.send_tunables({})
        observe.feed.send("HEARTBEAT")
        observe.feed.flush()
        try:
            life = SchedulerLife(observe, topology.read(), generation)
        except AttachBusy as err:
            raise CycleError(
                f"the scheduler {err} is loaded: stop it first (`scx-gamer stop`)"
            ) from err
        except (AttachUnsupported, AttachFailed) as err:
            raise CycleError(str(err)) from err
        stack.callback(life.close)
        _feed(observe)
        loop.call_later(run_s, loop.stop, name="end of the cycle")
        loop.run()
        record = life.ended()
        if record is not None:
            raise CycleError(f"the scheduler was thrown out: {record.line()}")


def _feed(observe: Observe) -> None:
    """One message of each kind, on a process that is ours."""
    feed, constants = observe.feed, observe.abi.constants
    game, lane = constants["SCXG_CLASS_GAME"], constants["SCXG_LANE_KEYBOARD"]
    feed.send("CLASS_SET", tgid=os.getpid(), class_id=game)
    feed.send("GAME_ACTIVE", value=1)
    feed.send("FOCUS", tgid=os.getpid())
    feed.send("INPUT", index=lane, time_ns=time.monotonic_ns())
    feed.flush()
    feed.send("FOCUS", tgid=0)
    feed.send("GAME_ACTIVE", value=0)
    feed.send("CLASS_DEL", tgid=os.getpid())
    feed.flush()

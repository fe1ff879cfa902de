# SPDX-License-Identifier: GPL-2.0-only
"""One cycle of the real thing: load, attach, feed, watch threads, limit a cgroup, run a moment, detach, unload."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress

from scx_gamer.games.threads import ThreadWatch
from scx_gamer.libbpf import BpfError
from scx_gamer.netlimit import cgroups
from scx_gamer.netlimit.programs import Programs
from scx_gamer.observe.observer import Observe
from scx_gamer.scheduler import topology
from scx_gamer.scheduler.attached import AttachedScheduler
from scx_gamer.scheduler.errors import AttachBusy, AttachFailed, AttachUnsupported
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.loop import Loop

RUN_S = 0.1


class CycleError(ScxGamerError):
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
            life = AttachedScheduler(observe, topology.read(), generation)
        except AttachBusy as err:
            raise CycleError(
                f"the scheduler {err} is loaded: stop it first (`scx-gamer stop`)"
            ) from err
        except (AttachUnsupported, AttachFailed) as err:
            raise CycleError(str(err)) from err
        stack.callback(life.close)
        _feed(observe)
        with suppress(BpfError):  # a kernel without these hooks has nothing that could leak
            stack.callback(ThreadWatch(observe).close)
        _limit(stack)
        loop.call_later(run_s, loop.stop, name="end of the cycle")
        loop.run()
        record = life.ended()
        if record is not None:
            raise CycleError(f"the scheduler was thrown out: {record.line()}")


def _limit(stack: ExitStack) -> None:
    """The programs of `net limit` on an empty cgroup of our own; nothing where there is no room for one."""
    mount = cgroups.hierarchy().mount
    if mount is None:
        return
    folder = mount / f"scx-gamer-leakcheck-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return
    stack.callback(folder.rmdir)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    with suppress(BpfError):  # an optional part
        programs = Programs()
        stack.callback(programs.close)
        attachment = programs.attach(fd, os.fstat(fd).st_ino)
        stack.callback(attachment.close)
        attachment.use_slot(1)


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

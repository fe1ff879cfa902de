# SPDX-License-Identifier: GPL-2.0-or-later
"""One full cycle: load, attach, send messages, watch threads, limit a cgroup, run, detach, unload."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress

from scx_gamer.games.threads import ThreadWatch
from scx_gamer.libbpf import BpfError
from scx_gamer.netlimit import cgroups
from scx_gamer.netlimit.programs import Programs
from scx_gamer.observe.observer import Observer
from scx_gamer.scheduler import topology
from scx_gamer.scheduler.attached import AttachedScheduler
from scx_gamer.scheduler.errors import AttachBusy, AttachFailed, AttachUnsupported
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.files import open_directory
from scx_gamer.system.loop import Loop

RUN_S = 0.1


class CycleError(ScxGamerError):
    """A cycle that did not complete, so leaks cannot be judged."""


def one(generation: int, run_s: float = RUN_S) -> None:
    """Run one cycle, and release everything that it acquired. Raises CycleError, BpfError."""
    with ExitStack() as stack:
        loop = stack.enter_context(Loop())
        observe = Observer(loop)
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
        _send_messages(observe)
        with suppress(BpfError):  # optional: the kernel may lack these hooks
            stack.callback(ThreadWatch(observe).close)
        _limit(stack)
        loop.call_later(run_s, loop.stop, name="end of the cycle")
        loop.run()
        record = life.ended()
        if record is not None:
            raise CycleError(f"the kernel ended the scheduler: {record.line()}")


def _limit(stack: ExitStack) -> None:
    """Attach the programs of `net limit` to a new, empty cgroup, unless it cannot be created."""
    mount = cgroups.hierarchy().mount
    if mount is None:
        return
    folder = mount / f"scx-gamer-leakcheck-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return
    stack.callback(folder.rmdir)
    fd = stack.enter_context(open_directory(folder))
    with suppress(BpfError):  # optional: the kernel may lack these programs
        programs = Programs()
        stack.callback(programs.close)
        attachment = programs.attach(fd, os.fstat(fd).st_ino)
        stack.callback(attachment.close)
        attachment.use_slot(1)


def _send_messages(observe: Observer) -> None:
    """Send one message of each type, about this process."""
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

# SPDX-License-Identifier: GPL-2.0-or-later
"""The input monitor on real maps and a real loop, without the rest of the supervisor."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from scx_gamer.input import InputMonitor
from scx_gamer.libbpf import Abi, Object, RingBuffer, UserRing, find_object
from scx_gamer.libbpf.kernel import prog_info
from scx_gamer.observe.control_ring import ControlRing
from scx_gamer.system.loop import Loop

Scenario = Generator[float, None, None]
GENERATION = 7
LANES = ("KEYBOARD", "MOUSE", "GAMEPAD")
LOOK_S = 0.05
# A look and this are less than the quarter of a lease that is left when it is renewed.
LATE_S = 0.15
HOOKS = ("on_input", "on_inject")
OPTIONAL = ("on_exec", "on_exit", "on_fork")


@contextmanager
def observing() -> Iterator[Object]:
    """Load observe for many rigs: with the hooks libbpf reads the kernel's types, 10 s of an emulated CPU."""
    with Object.open(find_object("observe")) as observe:
        for name in OPTIONAL:
            observe.programs[name].set_autoload(False)
        observe.load()
        yield observe


class Rig:
    """Owns the hooks, the rings, the loop and the monitor. `play` runs a scenario inside the loop."""

    def __init__(self, observe: Object, path: str) -> None:
        self.path = path
        self.records: list[bytes] = []
        self._failure: BaseException | None = None
        with ExitStack() as stack:
            self.observe = observe
            self.maps = observe.maps
            self.abi = Abi(observe.btf)
            with self.maps["control"].mapped("scxg_control") as last_control:
                epoch = last_control[0].get("devices_epoch")
            for name in ("windows", "control", "tunables"):  # as the last rig left them
                self.maps[name].update(bytes(4), bytes(self.maps[name].value_size))
            with RingBuffer(self.maps["events"], lambda _data: None) as last:
                last.consume()
            self.windows = stack.enter_context(self.maps["windows"].mapped("scxg_windows"))[0]
            self.control = stack.enter_context(self.maps["control"].mapped("scxg_control"))[0]
            self.tunables = stack.enter_context(self.maps["tunables"].mapped("scxg_tunables"))[0]
            for lane in LANES:
                self.set_boost(lane, self.abi.constants[f"SCXG_DEF_BOOST_{lane}_MS"])
            self.control.set("generation", GENERATION)
            self.control.set("devices_epoch", epoch)  # the hook still knows devices of the last rig
            ring = stack.enter_context(RingBuffer(self.maps["events"], self._on_record))
            user = stack.enter_context(UserRing(self.maps["control_ring"]))
            self.feed = ControlRing(user, observe.programs["drain"].runner(), self.abi)
            self.feed.generation = GENERATION
            self.loop = stack.enter_context(Loop())
            self.loop.add_fd(ring.epoll_fd, lambda _fd: self._consume(ring), name="events")
            stack.callback(self.loop.remove_fd, ring.epoll_fd)
            self.loop.at_pass_end(self.feed.flush)
            self.room = InputMonitor(
                self.loop,
                self.feed,
                self.maps,
                self.abi,
                kernel_path=path == "kernel",
                missed=lambda: int(prog_info(observe.programs["on_input"].fd)["recursion_misses"]),
            )
            if path == "kernel":
                for name in HOOKS:
                    stack.enter_context(observe.programs[name].attach())
            self._stack = stack.pop_all()

    def start(self, *, game: bool = True) -> None:
        self.room.start()
        self._stack.callback(self.room.close)
        if game:
            self.set_game(True)

    def set_game(self, active: bool) -> None:
        """As the supervisor does when a game begins or ends."""
        self.feed.send("GAME_ACTIVE", value=int(active))
        self.feed.flush()
        self.room.set_game(active)

    def nodes(self) -> Counter[str]:
        """Count the descriptors of this process by device node; evdev's UInput opens its own too."""
        links: Counter[str] = Counter()
        for fd in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                links[os.readlink(f"/proc/self/fd/{fd}")] += 1
        return Counter(
            {link: count for link, count in links.items() if link.startswith("/dev/input/")}
        )

    def _consume(self, ring: RingBuffer) -> None:
        ring.consume()

    def _on_record(self, data: bytes | memoryview) -> None:
        record = bytes(data)
        self.records.append(record)
        event = self.abi.unpack("scxg_event", record)
        if event["type"] == self.abi.constants["SCXG_EV_WINDOW"]:
            self.room.on_window(int(event["lane"]))

    def set_boost(self, lane: str, milliseconds: int) -> None:
        index = self.abi.constants[f"SCXG_TUN_BOOST_{lane}_MS"]
        self.tunables.set(f"value[{index}]", milliseconds)

    def lane(self, lane: str, field: str) -> int:
        return self.windows.get(f"lane[{self.abi.constants['SCXG_LANE_' + lane]}].{field}")

    def until(self, lane: str) -> int:
        return max(self.lane(lane, "until_ns"), self.lane(lane, "held_until_ns"))

    def open(self, lane: str) -> bool:
        return time.monotonic_ns() < self.until(lane)

    def play(self, scenario: Scenario) -> None:
        """Run a scenario to its end; it yields the seconds that the loop shall run meanwhile."""

        def step() -> None:
            try:
                delay = next(scenario)
            except StopIteration:
                self.loop.stop()
                return
            except BaseException as err:
                self._failure = err
                self.loop.stop()
                return
            self.loop.call_later(delay, step, name="scenario")

        self.loop.call_later(0, step, name="scenario")
        self.loop.run()
        if self._failure is not None:
            raise self._failure

    def wait(
        self, what: Callable[[], bool], limit_s: float = 60.0, every_s: float = 0.005
    ) -> Scenario:
        """Run the loop until `what()`; fails after the limit."""
        end = time.monotonic() + limit_s
        while not what():
            assert time.monotonic() < end, f"not within {limit_s} s"
            yield every_s

    def stay_open(self, lane: str, seconds: float) -> Generator[float, None, int]:
        """Assert that the lane is open at each look that is in time, for so long; return the number of late looks.

        Where the machine stood still, the lease may be over before the monitor can renew it.
        """
        looks = late = 0
        while looks * LOOK_S < seconds:
            due = time.monotonic() + LOOK_S
            yield LOOK_S
            is_open = self.open(lane)
            if time.monotonic() - due < LATE_S:
                assert is_open, lane
                looks += 1
            else:
                late += 1
        return late

    def wait_closed(self, lane: str) -> Scenario:
        """Until nothing holds the lane, and its window is over: a release sets the lease to 0, its end does not."""
        yield from self.wait(lambda: not self.lane(lane, "held_until_ns") and not self.open(lane))

    def wait_device(self, name: str, present: bool = True) -> Scenario:
        """Until the room listens to the device called `name`, or no longer does, which is after sysfs has lost it."""

        def done() -> bool:
            listed = self.room.devices()
            if present:
                return any(one.name == name and one.path is not None for one in listed)
            there = {one.number for one in listed}
            return name not in {one.name for one in listed} and self.numbers() <= there

        yield from self.wait(done)

    def numbers(self) -> set[int]:
        """Devices that the hook knows."""
        keys = set(self.maps["device_slots"].keys())
        return {int(key.rstrip(b"\0").removeprefix(b"input")) for key in keys}

    def close(self) -> None:
        self._stack.close()


class Writer:
    """The C mouse, or with "pad" the pad on a table. `begin` starts the reports, `rate` waits for the end."""

    def __init__(self, binary: Path, rate: int, seconds: float, *kind: str) -> None:
        self.process = subprocess.Popen(
            [str(binary), str(rate), str(seconds), *kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def running(self) -> bool:
        return self.process.poll() is None

    def rate(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def opened(rig: Rig) -> dict[str, int]:
    """Count the openings of each lane."""
    return {lane: rig.lane(lane, "opened") for lane in LANES}


def others_closed(rig: Rig, lane: str) -> None:
    """Assert that no lane but this one was opened."""
    for other in LANES:
        if other != lane:
            assert not rig.open(other), other
            assert rig.lane(other, "opened") == 0, other


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))

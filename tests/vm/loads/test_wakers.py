# SPDX-License-Identifier: GPL-2.0-or-later
"""A marked game beside a load that wakes up as often as it does: nothing gets between its threads and a CPU.

Its threads wake up together, at the vsync. Of two on one CPU, one waits for the other's whole burst.
"""

from __future__ import annotations

from tests.vm.loads.beside import keeps_its_frames_beside

LINK_US = 1000  # 99 of 100; the shortest burst of a worker is longer
INPUT_US = 100  # 999 of 1000


def test_no_thread_of_the_game_waits_for_another() -> None:
    cell = keeps_its_frames_beside("messaging")
    print(f"MEASURED links' p99 {cell.links_p99_us}, input {cell.input_latency_us}")
    assert not {link: p99 for link, p99 in cell.links_p99_us.items() if p99 > LINK_US}
    assert cell.input_latency_us.p999 < INPUT_US

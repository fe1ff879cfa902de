# SPDX-License-Identifier: GPL-2.0-or-later
"""The same cgroups as tests/vm/netlimit: in a guest of its own, as each supervisor takes its time."""

from tests.vm.netlimit.conftest import cgroup

__all__ = ["cgroup"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""The same Internet and cgroups as tests/vm/netlimit: in a guest of its own, as each supervisor takes its time."""

from tests.vm.netlimit.conftest import cgroup, internet

__all__ = ["cgroup", "internet"]

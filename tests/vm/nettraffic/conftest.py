# SPDX-License-Identifier: GPL-2.0-or-later
"""The same Internet, cgroups and supervisor as tests/vm/netlimit: in a guest of its own, as traffic takes its time."""

from tests.vm.netlimit.conftest import cgroup, internet, shared, sup

__all__ = ["cgroup", "internet", "shared", "sup"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""BPF objects that outlive a scheduler: hooks, rings and shared maps. Imports `libbpf` and `system`."""

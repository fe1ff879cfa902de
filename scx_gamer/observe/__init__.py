# SPDX-License-Identifier: GPL-2.0-only
"""BPF objects that outlive a scheduler: hooks, rings and shared maps. Imports `libbpf` and `system`."""

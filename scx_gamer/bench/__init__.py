# SPDX-License-Identifier: GPL-2.0-only
"""Benchmarks: a game-like workload, background loads, and the comparison of schedulers."""

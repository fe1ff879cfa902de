# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks: a game-like workload, background loads, and the comparison of schedulers."""

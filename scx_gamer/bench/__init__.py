# SPDX-License-Identifier: GPL-2.0-only
"""Benchmarks: a game-like workload, background loads, and what compares schedulers with them."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""scx_gamer: a sched_ext scheduler for games and the supervisor that runs it."""

__version__ = "0.1.0"

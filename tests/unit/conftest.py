# SPDX-License-Identifier: GPL-2.0-or-later
"""Hypothesis without deadlines: the time of one example depends on what else the machine does."""

from __future__ import annotations

from hypothesis import settings

# pytest's own timeout ends a hang.
settings.register_profile("scx_gamer", deadline=None)
settings.load_profile("scx_gamer")

# SPDX-License-Identifier: GPL-2.0-or-later
"""The work of the GPU for the game in words."""

from __future__ import annotations

GPU_BOUND = 0.9  # of the time: the rest passes between two jobs where one follows upon the other


def gpu_text(share: float) -> str:
    """Say for which share of the time the GPU had work of the game, and whether that bounds the frame rate."""
    bound = "sets the pace" if share >= GPU_BOUND else "waits for the game"
    return f"{100 * share:.0f} % busy, and {bound}"

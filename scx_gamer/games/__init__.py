# SPDX-License-Identifier: GPL-2.0-only
"""Which processes are the game, and why: `/proc` text in, decisions with their evidence out."""

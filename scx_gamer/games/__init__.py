# SPDX-License-Identifier: GPL-2.0-or-later
"""Detection of games, and its reasons: `/proc` text in, decisions with their evidence out."""

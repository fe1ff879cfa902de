# SPDX-License-Identifier: GPL-2.0-or-later
"""Frame times of a running game, from sources outside of it. Nothing here is imported before a game runs."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of a game found by measurement while it is played: trials in pairs of blocks, as `compare` has them.

Nothing here is imported by the supervisor.
"""

# SPDX-License-Identifier: GPL-2.0-or-later
"""The effect of the scheduler on a game that somebody plays: blocks of frames without and with it, and one verdict.

Nothing here is imported by the supervisor.
"""

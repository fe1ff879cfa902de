# SPDX-License-Identifier: GPL-2.0-or-later
"""The cost of our own work, in instructions of a lockstep guest: one a nanosecond, whatever the machine."""

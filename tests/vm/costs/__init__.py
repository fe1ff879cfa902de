# SPDX-License-Identifier: GPL-2.0-only
"""What our own work takes, in instructions of a lockstep guest: one a nanosecond, whatever the machine."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""A mouse in motion, whose window asserts times of this machine."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""Runner of the test tiers: the plan (tests/tiers.toml), jobs on the host and in guests, progress and the summary."""

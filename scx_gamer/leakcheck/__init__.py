# SPDX-License-Identifier: GPL-2.0-only
"""Whether anything stays behind: cycles of the real thing, with the world compared before and after."""

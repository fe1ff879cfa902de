# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux plumbing: event loop, /proc, files, locks, sd_notify, text. Imports nothing else of scx_gamer."""

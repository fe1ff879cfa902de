# SPDX-License-Identifier: GPL-2.0-or-later
"""Idle devices that report for a minute, on both paths."""

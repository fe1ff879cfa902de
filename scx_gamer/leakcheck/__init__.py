# SPDX-License-Identifier: GPL-2.0-or-later
"""The leak check: full cycles of the scheduler, with the resources of process and kernel compared before and after."""

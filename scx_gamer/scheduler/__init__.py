# SPDX-License-Identifier: GPL-2.0-or-later
"""One attached scheduler, its state machine and the state that survives it. Imports `observe` and `config`."""

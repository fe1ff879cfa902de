# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon: it wires all packages together and is the only one that knows them all."""

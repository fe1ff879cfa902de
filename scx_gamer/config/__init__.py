# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings that administrators write, read and validated. Imports only `system`."""

# SPDX-License-Identifier: GPL-2.0-only
"""Settings that administrators write, read and validated. Imports only `system`."""

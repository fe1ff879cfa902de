# SPDX-License-Identifier: GPL-2.0-only
"""The agent of a user session: tells the supervisor which process has the focus. Unprivileged, and nobody needs it."""

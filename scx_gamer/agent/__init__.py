# SPDX-License-Identifier: GPL-2.0-or-later
"""The session agent: reports the focused process to the supervisor. Optional and unprivileged; runs as the user."""

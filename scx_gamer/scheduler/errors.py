# SPDX-License-Identifier: GPL-2.0-or-later
"""Outcomes of an attach that the state machine answers to; none of them reaches a person as an error."""

from __future__ import annotations

from scx_gamer.scheduler.exits import ExitRecord


class AttachBusy(Exception):
    """Another scheduler is loaded; str() is its name."""


class AttachUnsupported(Exception):
    """The kernel refuses the scheduler; str() is one line."""


class AttachFailed(Exception):
    """Init failed, or the kernel ended the scheduler at once; counted like an exit."""

    def __init__(self, record: ExitRecord) -> None:
        super().__init__(record.line())
        self.record = record

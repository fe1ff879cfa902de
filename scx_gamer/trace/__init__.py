# SPDX-License-Identifier: GPL-2.0-only
"""Questions about a running process, answered by probes that bcc compiles when they are asked.

The probes live in a child process: a compiler's memory and its faults stay out of ours, and whatever ends the child
detaches them. The headers that bcc wants are in `headers/`: the probes use tracepoints and registers, no kernel struct.
"""

from scx_gamer.trace.answer import Answer, Group
from scx_gamer.trace.asking import Question, TraceError, ask, mapped_file

__all__ = ["Answer", "Group", "Question", "TraceError", "ask", "mapped_file"]

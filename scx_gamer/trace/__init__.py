# SPDX-License-Identifier: GPL-2.0-or-later
"""Questions about a running process, answered by probes that bcc compiles on demand.

A child process holds the probes, which keeps the memory and the faults of the compiler out of ours. Its end detaches
them. `headers/` has the headers that bcc needs: the probes use tracepoints and registers, and no struct of the kernel.
"""

from scx_gamer.trace.answer import Answer, Group
from scx_gamer.trace.asking import Question, TraceError, ask, mapped_file

__all__ = ["Answer", "Group", "Question", "TraceError", "ask", "mapped_file"]

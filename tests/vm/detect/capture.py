# SPDX-License-Identifier: GPL-2.0-or-later
"""Print running processes in the notation of tests/unit/games/trees.py, whose recorded trees were made so.

python -m tests.vm.detect.capture PID…: those processes and everything below them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from scx_gamer.games.proc import Process, ProcFs, Tree


def _word(text: str) -> str:
    return text.replace(" ", "~")


def line(process: Process) -> str:
    """One process: pid, executable, command line, what is kept of its environment."""
    words = [str(process.pid), _word(process.exe), *map(_word, process.argv)]
    if process.env:
        words.append(f"[{' '.join(f'{k}={_word(v)}' for k, v in sorted(process.env.items()))}]")
    return " ".join(words)


def lines(tree: Tree, process: Process, depth: int = 0) -> Iterator[str]:
    yield "  " * depth + line(process)
    for child in sorted(tree.children(process.pid), key=lambda p: p.pid):
        yield from lines(tree, child, depth + 1)


def capture(pids: Iterable[int]) -> str:
    tree = Tree.scan(ProcFs())
    found = {pid: p for pid in pids if (p := tree.get(pid)) is not None}
    tops = [p for p in found.values() if p.ppid not in found]
    return "\n".join(text for process in tops for text in lines(tree, process))


if __name__ == "__main__":
    print(capture(map(int, sys.argv[1:])))

# SPDX-License-Identifier: GPL-2.0-or-later
"""The child process of `trace`: compiles a probe, samples, prints JSON. The only module that imports bcc."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from scx_gamer.system.exit_codes import NO_PERMISSION, UNSUPPORTED, USAGE
from scx_gamer.trace.answer import from_tables
from scx_gamer.trace.asking import Question, TraceError, mapped_file, packages

HERE = Path(__file__).resolve().parent
HEADERS = HERE / "headers"
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_POLL_S = 0.2

_FILES = {
    "wakeups": ("common.c", "threads.c", "wakeups.c"),
    "who-preempts": ("common.c", "threads.c", "preempts.c"),
    "frames": ("common.c", "frames.c"),
    "input": ("common.c", "input.c"),
}
# Name of a group without a thread.
_UNNAMED = {"wakeups": "(interrupt)", "who-preempts": "(idle)"}
_FLIPS = ("drm_mode_page_flip_ioctl", "drm_mode_atomic_ioctl")


def source(kind: str) -> str:
    """Return the source of a probe."""
    return "".join((HERE / name).read_text() for name in _FILES[kind])


def compile_probe(question: Question) -> Any:
    """Compile a probe and attach its tracepoints. Return bcc's BPF object. Raises TraceError.

    Our own headers are tried first. A version of bcc that needs more gets the kernel's headers, if they are installed.
    """
    from bcc import BPF

    cflags = [f"-DTARGET={question.pid or 0}", "-Wno-macro-redefined"]
    text = source(question.kind)
    os.environ["BCC_KERNEL_SOURCE"] = str(HEADERS)
    try:
        return BPF(text=text, cflags=cflags)
    except Exception as first:
        del os.environ["BCC_KERNEL_SOURCE"]
        build = Path("/lib/modules", os.uname().release, "build")
        if not build.exists() and not Path("/sys/kernel/kheaders.tar.xz").exists():
            raise _refused(first) from first
        try:
            return BPF(text=text, cflags=cflags)
        except Exception as second:
            raise _refused(second) from second


def _refused(error: Exception) -> TraceError:
    if os.geteuid() != 0:
        return TraceError(
            "cannot load the probe: permission denied", "run it as root", NO_PERMISSION
        )
    what = f"bcc failed to compile the probe: {error}"
    hint = f"install {packages()[1]}, then try again; SCX_GAMER_DEBUG=1 shows the compiler's output"
    return TraceError(what, hint, UNSUPPORTED)


def attach(bpf: Any, question: Question) -> list[str]:
    """Attach kprobes and uprobes, and return notes about those missing. Raises TraceError."""
    if question.kind == "input":
        bpf.attach_kprobe(event="input_event", fn_name="on_report")
        bpf.attach_kretprobe(event="input_event", fn_name="on_delivered")
    if question.kind != "frames":
        return []
    if question.function:
        assert question.pid is not None
        name, _, symbol = question.function.rpartition(":")
        if not name or not symbol:
            raise TraceError(f"{question.function!r} is not a function", "write FILE:SYMBOL", USAGE)
        path = mapped_file(question.pid, name)
        try:
            bpf.attach_uprobe(name=str(path), sym=symbol, fn_name="on_frame")
        except Exception as err:
            hint = "see the symbols with: nm -D --defined-only FILE"
            raise TraceError(f"{path} has no function {symbol}", hint) from err
        return []
    missing = []
    for name in _FLIPS:
        try:
            bpf.attach_kprobe(event=name, fn_name="on_frame")
        except Exception:
            missing.append(name)
    if len(missing) == len(_FLIPS):
        hint = "use --function with a function called once per frame, such as libvulkan:vkQueuePresentKHR"
        raise TraceError("this kernel has no function for page flips", hint, UNSUPPORTED)
    return [f"not traced: {name} is not in this kernel" for name in missing]


def watch(question: Question, stop: threading.Event) -> dict[str, Any]:
    """Answer a question: compile, sample until its time is over or `stop` is set, and read the tables."""
    bpf = compile_probe(question)
    try:
        if question.pid is not None:
            threads = bpf["threads"]
            for tid in os.listdir(f"/proc/{question.pid}/task"):
                threads[ctypes.c_uint32(int(tid))] = ctypes.c_uint8(1)
        notes = attach(bpf, question)
        began = time.monotonic()
        while not stop.wait(_POLL_S) and time.monotonic() - began < question.seconds:
            if question.pid is not None and not Path("/proc", str(question.pid)).is_dir():
                notes.append(f"process {question.pid} ended")
                break
        seconds = time.monotonic() - began
        buckets = [(bytes(k.name), int(k.slot), int(v.value)) for k, v in bpf["histogram"].items()]
        largest = {bytes(k.text): int(v.value) for k, v in bpf["largest"].items()}
        return {
            "question": question.kind,
            "pid": question.pid,
            "seconds": round(seconds, 3),
            "lost": sum(int(v.value) for v in bpf["lost"].values()),
            "notes": notes,
            "groups": from_tables(buckets, largest, _UNNAMED.get(question.kind, "(unnamed)")),
        }
    finally:
        bpf.cleanup()


def main() -> int:
    """Run the question in argv[1] and print the answer. The process is killed when its parent ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return 1
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    question = Question(**json.loads(sys.argv[1]))
    try:
        with redirect_stdout(sys.stderr):
            answer = watch(question, stop)
    except TraceError as err:
        answer = {"error": err.what, "hint": err.hint, "code": err.code}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs whose frames and GPU work are known: given to `python -S -c`, as a game or beside one."""

from __future__ import annotations

# argv: the log, frame time in ms. Every fiftieth frame takes three times as long.
OVERLAID = """
import sys, time
path, period = sys.argv[1], float(sys.argv[2])
began = due = time.monotonic_ns()
with open(path, "a") as log:
    log.write("os,cpu,gpu,ram,kernel,driver,cpuscheduler\\nDebian,a,b,1,7.2,,performance\\n")
    log.write("fps,frametime,cpu_load,elapsed\\n")
    number = 0
    while True:
        number += 1
        took = period * (3 if number % 50 == 0 else 1)
        due += int(took * 1e6)
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        log.write(f"{1000 / took:.4f},{took:.4f},50,{due - began}\\n")
        log.flush()
"""

# argv: node, ms for which a job waits, for which the GPU has it, and between frames. Of the two jobs of a frame, the
# second begins in the first and ends after it. A job is a pair of fences as those of the kernel's GPU scheduler, of
# consecutive contexts and one number. At its end it prints the seconds in which there was a job, of all, and the jobs.
GPU = """
import fcntl, os, signal, struct, sys, time
node = os.open(sys.argv[1], os.O_RDWR)
queued, ran, idle = (float(word) / 1000 for word in sys.argv[2:])
def call(way, nr, form, *fields):
    data = bytearray(struct.pack(form, *fields))
    fcntl.ioctl(node, way << 30 | len(data) << 16 | ord("d") << 8 | nr, data)
    return struct.unpack(form, data)
handle = call(3, 0xB2, "6IQ", 4, 4, 32, 0, 0, 0, 0)[4]
def job():
    return [call(3, 0x41, "4I", handle, 0, 0, 0)[2] for _ in range(2)]
def done(fence):
    call(1, 0x42, "2I", fence, 0)
    return time.monotonic()
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
busy, jobs, began = 0, 0, time.monotonic()
while not over:
    first = job()
    time.sleep(queued)
    since = done(first[0])
    time.sleep(ran / 2)
    second = job()
    done(second[0])
    time.sleep(ran / 2)
    done(first[1])
    time.sleep(ran / 2)
    busy += done(second[1]) - since
    jobs += 2
    time.sleep(idle)
print(busy, time.monotonic() - began, jobs, flush=True)
"""

# SPDX-License-Identifier: GPL-2.0-or-later
"""A Java program of any name, without a compiler."""

from __future__ import annotations


def class_file(name: str) -> bytes:
    """A Java class of that name whose main() sleeps for ten minutes (JVM specification, chapter 4)."""
    texts = (
        name,
        "java/lang/Object",
        "main",
        "([Ljava/lang/String;)V",
        "Code",
        "java/lang/Thread",
        "sleep",
        "(J)V",
    )
    pool = b"".join(b"\x01" + len(t).to_bytes(2, "big") + t.encode() for t in texts)  # 1 to 8
    pool += b"\x07\0\x01" + b"\x07\0\x02" + b"\x07\0\x06"  # classes: 9 itself, 10 Object, 11 Thread
    pool += b"\x0c\0\x07\0\x08" + b"\x0a\0\x0b\0\x0c"  # 12 sleep(J)V, 13 Thread's
    pool += b"\x05" + (600_000).to_bytes(8, "big")  # 14 and 15
    code = b"\x14\0\x0e\xb8\0\x0d\xb1"  # ldc2_w 14, invokestatic 13, return
    body = b"\0\x02\0\x01" + len(code).to_bytes(4, "big") + code + bytes(4)
    method = b"\0\x09\0\x03\0\x04\0\x01\0\x05" + len(body).to_bytes(4, "big") + body
    head = b"\xca\xfe\xba\xbe\0\0\0\x32" + b"\0\x10" + pool + b"\0\x21\0\x09\0\x0a" + bytes(4)
    return head + b"\0\x01" + method + bytes(2)

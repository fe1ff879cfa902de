# SPDX-License-Identifier: GPL-2.0-or-later
"""Seats of users as logind knows them, asked through libsystemd."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

# Written by logind, with seat0 in it while it runs. tmpfiles.d creates the directory at boot even where logind is off.
SEATS = Path("/run/systemd/seats")


@functools.cache
def _library() -> ctypes.CDLL | None:
    for name in ("libsystemd.so.0", "libelogind.so.0"):
        try:
            library = ctypes.CDLL(name, use_errno=True)
            call = library.sd_uid_get_seats
        except (OSError, AttributeError):
            continue
        # int sd_uid_get_seats(uid_t uid, int require_active, char ***seats)
        call.argtypes = [ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p]
        call.restype = ctypes.c_int
        return library
    return None


def active(uid: int) -> bool | None:
    """Return True if a session of the user is active on any seat, None if logind does not run."""
    return _has_seats(uid, require_active=True)


def has_seat(uid: int) -> bool | None:
    """Return True if the user has a session on any seat, active or not, None if logind does not run."""
    return _has_seats(uid, require_active=False)


def _has_seats(uid: int, *, require_active: bool) -> bool | None:
    library = _library()
    if library is None or not SEATS.is_dir() or not any(SEATS.iterdir()):
        return None
    return int(library.sd_uid_get_seats(uid, require_active, None)) > 0

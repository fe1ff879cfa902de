# SPDX-License-Identifier: GPL-2.0-or-later
"""Base classes of resources that are released at the end of a `with` block."""

from __future__ import annotations

import os
from typing import Self


class Closing:
    """Call close() at the end of the block, however it ends."""

    __slots__ = ()

    def close(self) -> None:
        """Release the resource; idempotent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FdOwner(Closing):
    """Owner of one file descriptor, None once it is closed."""

    _fd: int | None = None

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

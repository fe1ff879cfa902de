# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that users own, read so that no user can make the reader wait, loop, or read something else.

Only regular files are read, opened without blocking (`mkfifo x.desktop`), never through a link that leads out of the
folder that was named, and never on a file system that may stop answering: network mounts, automounts, a user's own
FUSE. Sizes and counts are capped. Raises nothing: a file that cannot be read so has no content.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

MAX_BYTES = 16 * 1024
MAX_NAMES = 2048  # of one folder
_MAX_LINKS = 8
_MAX_MOUNTS = 1 << 20  # bytes of mountinfo

_FOLDER_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# File systems whose server may be gone, or whose first use mounts something.
# Of root, and the same for everybody: links of users may lead there.
_STORES = ("/nix/store/", "/gnu/store/")
_WAITING = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "autofs", "ceph", "afs", "coda", "ncpfs", "lustre"}
)


class Mounts:
    """Mount table: paths on file systems that always answer."""

    def __init__(self, text: str = "") -> None:
        self._waiting: dict[str, bool] = {}
        for line in text.splitlines():
            before, dash, after = line.partition(" - ")
            fields, kinds = before.split(" "), after.split(" ")
            if dash and len(fields) > 4 and len(kinds) > 1:
                self._waiting[_unescape(fields[4])] = _waits(kinds[0], kinds[-1])

    @classmethod
    def of(cls, path: str = "/proc/self/mountinfo") -> Mounts:
        """As the kernel lists them; none where it does not."""
        return cls(_whole(path, _MAX_MOUNTS).decode("utf-8", "surrogateescape"))

    def answers(self, path: str) -> bool:
        """Return True if the mount that holds `path`, which has no links in it, is safe to look into."""
        while path:
            if path in self._waiting:
                return not self._waiting[path]
            path = path.rpartition("/")[0]
        return not self._waiting.get("/", False)

    def mounted_at(self, path: str) -> bool:
        return path in self._waiting


def _waits(kind: str, options: str) -> bool:
    if kind == "fuse" or kind.startswith("fuse."):  # fuseblk: of root alone
        return "user_id=0" not in options.split(",")
    return kind in _WAITING


def _unescape(field: str) -> str:
    """Blanks and their like are octal in mountinfo."""
    if "\\" not in field:
        return field
    for code in (" ", "\t", "\n", "\\"):
        field = field.replace(f"\\{ord(code):03o}", code)
    return field


def resolve(path: str, mounts: Mounts) -> str:
    """The path without links, as `/proc/PID/exe` shows it; empty if that leads to where nobody may answer."""
    left = [part for part in path.split("/") if part]
    done: list[str] = []
    links = 0
    if not path.startswith("/") or "\0" in path:
        return ""
    while left:
        part = left.pop(0)
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = "/" + "/".join((*done, part))
        if not mounts.answers(here):
            return ""
        try:
            target = os.readlink(here)
        except OSError:  # no link, or not there: lookups below say so
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            return ""
        if target.startswith("/"):
            done = []
        left[:0] = [p for p in target.split("/") if p]
    return "/" + "/".join(done)


def is_program(path: str, mounts: Mounts) -> bool:
    """Return True if a path without links is a regular file that somebody may execute."""
    if not path or not mounts.answers(path):
        return False
    try:  # access() would ask for the real user, whom a home is closed to, and forget our capabilities
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def is_image(path: str, mounts: Mounts) -> bool:
    """Return True if a path without links is an AppImage: its ELF header says AI at byte 8 (AppImageSpec)."""
    folder, _, name = path.rpartition("/")
    return read_below(folder or "/", name, mounts, 11)[8:10] == b"AI"


def open_below(folder: str, name: str, mounts: Mounts, flags: int = 0) -> int:
    """A descriptor of `name` in `folder`, links that stay inside it followed; -1 if it cannot be had so.

    Not by openat2(): RestrictSUIDSGID, which the unit has, refuses it, since its flags are out of a filter's sight
    (seccomp_restrict_suid_sgid() of systemd). Links are resolved first and none is followed then.
    """
    base, path = resolve(folder, mounts), resolve(f"{folder}/{name}", mounts)
    if path.startswith(_STORES):
        base = "/"
    if (
        not base
        or not f"{path}/".startswith(f"{base}/".replace("//", "/"))
        or not mounts.answers(path)
    ):
        return -1
    parts = [part for part in path[len(base) :].split("/") if part]
    fd = -1
    try:
        fd = os.open(base, _FOLDER_FLAGS)
        for part in parts[:-1]:
            outer, fd = fd, os.open(part, _FOLDER_FLAGS, dir_fd=fd)
            os.close(outer)
        return os.open(parts[-1] if parts else ".", _FLAGS | os.O_NOFOLLOW | flags, dir_fd=fd)
    except (OSError, ValueError):
        return -1
    finally:
        if fd >= 0:
            os.close(fd)


def read_below(
    folder: str, name: str, mounts: Mounts, limit: int = MAX_BYTES, tail: bool = False
) -> bytes:
    """The first (or last) `limit` bytes of a regular file; empty for anything else."""
    fd = open_below(folder, name, mounts)
    if fd < 0:
        return b""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return b""
        return os.pread(fd, limit, max(0, found.st_size - limit) if tail else 0)
    except OSError:
        return b""
    finally:
        os.close(fd)


def read_in_root(root: str, name: str, limit: int = MAX_BYTES) -> bytes:
    """The first bytes of a regular file right in another process's root; `root` is a link that the kernel follows by
    itself, since its text is a path of that process's own. The caller has asked whether that file system answers."""
    try:
        folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        fd = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return b""
    finally:
        os.close(folder)
    return _read_regular(fd, limit)


def open_of_process(pid: int, number: int, uid: int) -> int:
    """Open for reading a regular file that a process holds open and the user `uid` owns; -1 if it cannot be had so.

    The file is pinned without being opened first, so the mount that is checked is that of the file that is opened.
    """
    pinned = -1
    try:
        pinned = os.open(f"/proc/{pid}/fd/{number}", os.O_PATH | os.O_CLOEXEC)
        mount = _mount_of(_whole(f"/proc/self/fdinfo/{pinned}", MAX_BYTES))
        if not _mount_answers(mount, _whole(f"/proc/{pid}/mountinfo", _MAX_MOUNTS)):
            return -1
        found = os.fstat(pinned)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != uid:
            return -1
        return os.open(f"/proc/self/fd/{pinned}", _FLAGS)
    except (OSError, ValueError):
        return -1
    finally:
        if pinned >= 0:
            os.close(pinned)


def _mount_of(fdinfo: bytes) -> bytes:
    """The id of the mount that a descriptor's file is on."""
    return next(
        (line.split()[1] for line in fdinfo.splitlines() if line.startswith(b"mnt_id:")), b""
    )


def _mount_answers(mount: bytes, mountinfo: bytes) -> bool:
    """Return True if a mount, by its id, is one of the table and its file system always answers."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(b" - ")
        kinds = after.decode("utf-8", "replace").split(" ")
        if mount and before.split(b" ", 1)[0] == mount and len(kinds) > 1:
            return not _waits(kinds[0], kinds[-1])
    return False


def names_below(folder: str, name: str, mounts: Mounts, most: int = MAX_NAMES) -> Iterator[str]:
    """Names in a folder, at most `most` of them; none if it cannot be read so."""
    fd = open_below(folder, name, mounts, os.O_DIRECTORY)
    if fd < 0:
        return
    try:
        with os.scandir(fd) as entries:
            for _, entry in zip(range(most), entries, strict=False):
                yield entry.name
    except OSError:
        return
    finally:
        os.close(fd)


def _read_regular(fd: int, limit: int) -> bytes:
    """The first bytes of a descriptor, which is closed; empty if it is of no regular file."""
    try:
        return os.pread(fd, limit, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _whole(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            parts = []
            while limit > 0 and (part := file.read(min(limit, 1 << 16))):
                parts.append(part)
                limit -= len(part)
            return b"".join(parts)
    except OSError:
        return b""


def read_root(path: str, limit: int = MAX_BYTES) -> bytes:
    """A file of the system's, whose links lead where root wants them to; empty if it is no regular file."""
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return b""
    return _read_regular(fd, limit)


def owned_by_root(path: str) -> bool:
    """Return True if root alone can say what is at a path without links: the file and each folder above it."""
    if not path.startswith("/"):
        return False
    parts = path.split("/")
    for at in range(len(parts), 0, -1):
        try:
            found = os.lstat("/".join(parts[:at]) or "/")
        except (OSError, ValueError):
            return False
        if found.st_uid != 0 or found.st_mode & 0o022 or stat.S_ISLNK(found.st_mode):
            return False
    return True

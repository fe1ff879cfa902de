# SPDX-License-Identifier: GPL-2.0-or-later
"""The cgroup2 hierarchy, and the processes that a target matches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scx_gamer.config.network import Target, parse_target
from scx_gamer.netlimit import cgroups
from scx_gamer.netlimit.cgroups import Hierarchy, Member
from scx_gamer.system.procfs import cgroup_of, program_names, start_of
from tests.processes import running

ROOT_LINE = "29 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw"
UNIFIED = "36 25 0:31 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = (
    "36 25 0:31 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755",
    "37 36 0:32 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate",
    "38 36 0:33 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd",
)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((ROOT_LINE, UNIFIED), Hierarchy(Path("/sys/fs/cgroup"), hybrid=False)),
        ((ROOT_LINE, *HYBRID), Hierarchy(Path("/sys/fs/cgroup/unified"), hybrid=True)),
        ((ROOT_LINE, HYBRID[0], HYBRID[2]), Hierarchy(None, hybrid=True)),
        ((ROOT_LINE,), Hierarchy(None, hybrid=False)),
        ((UNIFIED.replace("/cgroup rw", r"/a\040b rw"),), Hierarchy(Path("/sys/fs/a b"), False)),
        (("", "nonsense", "- cgroup2", UNIFIED), Hierarchy(Path("/sys/fs/cgroup"), hybrid=False)),
        # a bind mount of one cgroup is not a hierarchy
        ((UNIFIED.replace(" / /", " /user.slice /"),), Hierarchy(None, hybrid=False)),
    ],
)
def test_hierarchies(tmp_path: Path, lines: tuple[str, ...], found: Hierarchy) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text("\n".join(lines) + "\n")
    assert cgroups.hierarchy(tmp_path) == found


@pytest.mark.parametrize(
    ("target", "name", "meant"),
    [
        ("unit:steam.service", "steam.service", True),
        ("unit:steam.service", "steam.service.d", False),
        ("unit:app-*.scope", "app-firefox-1234.scope", True),
        ("unit:app-org.kde-foo*", r"app-org.kde\x2dfoo-12.scope", True),
        ("app:firefox", "app-firefox-1234.scope", True),
        ("app:firefox", "app-gnome-firefox-1234.scope", True),
        ("app:firefox", "app-KDE-firefox@autostart.service", True),
        ("app:firefox", "app-gnome-firefoxy-1234.scope", False),
        ("app:firefox", "snap.firefox.firefox-3f2a.scope", True),
        ("app:org.qbittorrent.qBittorrent", "app-org.qbittorrent.qBittorrent-77.scope", True),
        (
            "app:org.qbittorrent.qBittorrent",
            "app-flatpak-org.qbittorrent.qBittorrent-7.scope",
            True,
        ),
        ("app:steam", "app-steam.slice", True),
        ("app:steam", "steam.service", False),
        ("app:s*", "app-steam-3.scope", True),
        ("app:firefox", r"app-gnome-Firefox-1.scope", True),
    ],
)
def test_names_of_cgroups(target: str, name: str, meant: bool) -> None:
    assert cgroups.matches(parse_target(target), name) is meant


def tree(tmp_path: Path) -> Path:
    """Create two cgroups of an app, one inside the other, and one beside them."""
    for path, pids in (
        ("user.slice/app-steam-1.scope", "10\n11\n"),
        ("user.slice/app-steam-1.scope/app-steam-2.scope", "12\n"),
        ("user.slice/app-other-1.scope", "13\n"),
        ("system.slice", "0\n"),
    ):
        folder = tmp_path / path
        folder.mkdir(parents=True)
        (folder / "cgroup.procs").write_text(pids)
    return tmp_path


def test_the_outermost_cgroup_is_limited_with_all_below_it(tmp_path: Path) -> None:
    path = "/user.slice/app-steam-1.scope"
    found = cgroups.resolve(Target("app", "steam"), tree(tmp_path))
    assert set(found) == {Member(10, path), Member(11, path), Member(12, path)}
    assert cgroups.members(tmp_path / "system.slice") == set(), "pid 0 is of another namespace"
    assert cgroups.members(tmp_path / "gone") == set()


def test_programs_by_any_of_their_names(tmp_path: Path) -> None:
    copy = tmp_path / "a-name-longer-than-sixteen"
    copy.write_bytes(Path("/bin/sleep").read_bytes())
    copy.chmod(0o755)
    with running([copy, "100"]) as process:
        for name in (str(copy), copy.name):
            found = cgroups.resolve(Target("exe", name), tmp_path)
            assert [member.pid for member in found] == [process.pid], name
        assert cgroups.resolve(Target("exe", "a-name"), tmp_path) == []
        assert copy.name in program_names(process.pid)
    assert program_names(process.pid) == ()
    assert start_of(process.pid) is None and cgroup_of(process.pid) is None


def fake_process(proc: Path, pid: int, comm: str, cmdline: bytes) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "comm").write_text(comm + "\n")
    (folder / "cmdline").write_bytes(cmdline)


def test_argv0_replaces_an_unreadable_executable_link(tmp_path: Path) -> None:
    """/proc/PID/exe of another user's process needs CAP_SYS_PTRACE, which the service lacks."""
    fake_process(tmp_path, 7, "a-long-program-", b"/opt/a-long-program-name\0--x\0")
    assert program_names(7, tmp_path) == (
        "/opt/a-long-program-name",
        "a-long-program-name",
        "a-long-program-",
    )
    fake_process(tmp_path, 8, "kworker/0:1", b"")
    assert program_names(8, tmp_path) == ("kworker/0:1",)
    # an argv[0] that does not agree with comm is ignored
    fake_process(tmp_path, 9, "nginx", b"nginx: worker process\0")
    assert program_names(9, tmp_path) == ("nginx",)


def test_the_supervisor_never_matches(tmp_path: Path) -> None:
    assert cgroups.resolve(Target("pid", str(os.getpid())), tmp_path) == []

# SPDX-License-Identifier: GPL-2.0-or-later
"""Changed files are reported by the real kernel's inotify, through the real loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scx_gamer.config.watch import FolderWatch, with_subfolders
from scx_gamer.system.loop import Loop


class Seen:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.count = 0

    def add(self) -> None:
        self.count += 1
        self.loop.stop()

    def after(self, act: Callable[[], object], wait_s: float = 30.0) -> int:
        """Run `act` and return the number of callbacks, after the first of them or the whole time."""
        before = self.count
        act()
        timer = self.loop.call_later(wait_s, self.loop.stop, name="patience")
        self.loop.run()
        timer.cancel()
        self.loop._stopped = False
        return self.count - before


@contextmanager
def watching(*folders: Path) -> Iterator[Seen]:
    with Loop() as loop:
        seen = Seen(loop)
        watch = FolderWatch(loop, lambda: with_subfolders(folders), seen.add)
        try:
            yield seen
        finally:
            watch.close()
            watch.close()


def test_writes_renames_links_and_removals(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    with watching(tmp_path) as seen:
        assert seen.after(lambda: path.write_text("x = 1")) == 1
        assert seen.after(lambda: path.rename(tmp_path / "b.toml")) == 1
        assert seen.after(lambda: os.symlink("/dev/null", path)) == 1
        assert seen.after(path.unlink) == 1
        assert seen.after(lambda: path.write_text("")) == 1
        (tmp_path / "new.tmp").write_text("y = 1")
        assert seen.after(lambda: (tmp_path / "new.tmp").rename(path)) == 1


def test_other_files_and_reads_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("x = 1")
    with watching(tmp_path) as seen:
        assert seen.after(lambda: (tmp_path / "a.toml").read_text(), 0.5) == 0
        assert seen.after(lambda: (tmp_path / "notes").write_text("x"), 0.5) == 0


def test_a_burst_of_writes_is_one_change(tmp_path: Path) -> None:
    def burst() -> None:
        for number in range(50):
            (tmp_path / f"{number}.toml").write_text("x = 1")

    with watching(tmp_path) as seen:
        assert seen.after(burst) == 1
        assert seen.after(lambda: None, 0.5) == 0


def test_folders_that_come_later_are_watched(tmp_path: Path) -> None:
    folder = tmp_path / "etc/profiles"
    with watching(folder) as seen:
        assert seen.after(lambda: folder.mkdir(parents=True)) == 1
        assert seen.after(lambda: (folder / "a.toml").write_text("x")) == 1
        assert seen.after(lambda: (folder / "a.toml.d").mkdir()) == 1
        assert seen.after(lambda: (folder / "a.toml.d/1.toml").write_text("x")) == 1
        assert seen.after(lambda: (folder / "a.toml").unlink()) == 1

# SPDX-License-Identifier: GPL-2.0-or-later
"""The kept settings of a game as a drop-in of its profile, with their evidence as the reasons."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from scx_gamer.compare.blocks import CompareError
from scx_gamer.compare.words import change
from scx_gamer.system.files import write_atomic
from scx_gamer.system.text import printable
from scx_gamer.tune.course import Kept
from scx_gamer.tune.subject import Subject

DROP_IN = "90-tuned.toml"
_HEAD = (
    "# Written by `scx-gamer tune`, which changes and removes it by itself. See docs/compare.md.\n"
)


def own_profile(subject: Subject) -> str:
    """Return the name of the profile that `tune` makes for a game that has none."""
    name = str(subject.app_id) if subject.app_id else subject.program.lower()
    return "tuned-" + re.sub(r"[^a-z0-9_.+-]", "-", name)[:50]


def put(folder: Path, profile: str, subject: Subject, kept: Mapping[str, Kept]) -> None:
    """Make the drop-in of `profile` in the admin's folder of profiles say what is kept: no file for nothing.

    The profile itself is made and removed too if it is the game's own_profile(). Raises CompareError.
    """
    base, drop_in = folder / f"{profile}.toml", folder / f"{profile}.toml.d" / DROP_IN
    ours = profile == own_profile(subject)
    try:
        if kept:
            _make(drop_in.parent)
            if ours and not base.exists():
                _replace(base, _profile_text(subject))
            _replace(drop_in, _text(kept))
            return
        drop_in.unlink(missing_ok=True)
        with suppress(OSError):  # other drop-ins are in it, or it is not there
            drop_in.parent.rmdir()
            if ours and base.read_bytes() == _profile_text(subject).encode():
                base.unlink()
    except OSError as err:
        raise CompareError(
            f"cannot write {drop_in}: {err.strerror}", err.errno or 0, "run it as root"
        ) from err


def _make(folder: Path) -> None:
    """Create a folder that the supervisor, another user, can read whatever root's umask is."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _replace(path: Path, text: str) -> None:
    """Write a file if its text is another one: each write is a reload of all profiles."""
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    write_atomic(path, data, 0o644, sync=True)


def _profile_text(subject: Subject) -> str:
    match = (
        f"appid = [{subject.app_id}]" if subject.app_id else f"exe = [{_quoted(subject.program)}]"
    )
    title = printable(subject.name)[:80].strip() or "A game"
    return f"{_HEAD}title = {_quoted(title)}\n\n[match]\n{match}\n"


def _text(kept: Mapping[str, Kept]) -> str:
    lines = [_HEAD, "[tunables]\n", *(f"{name} = {one.value}\n" for name, one in kept.items())]
    lines += [
        "\n[why]\n",
        *(f'"tunables.{name}" = {_quoted(evidence(k))}\n' for name, k in kept.items()),
    ]
    return "".join(lines)


def evidence(kept: Kept) -> str:
    """Return the reason of a kept setting: figures, dates, versions."""
    dates = kept.since if kept.since == kept.until else f"{kept.since} to {kept.until}"
    return (
        f"1 % low {change(kept.change)} against {kept.before}, sure, in {kept.pairs} pairs of blocks, {dates};"
        f" kernel {kept.kernel}, {kept.game or 'version of the game unknown'}, scx-gamer {kept.version}"
    )


def _quoted(text: str) -> str:
    """Return a TOML string; JSON escapes are TOML's."""
    return json.dumps(text)

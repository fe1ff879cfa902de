# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of stores beside the games that they install: names, types, marks. Read bounded, never trusted.

Steam: `steamapps/appmanifest_ID.acf` (text VDF), `appcache/appinfo.vdf` (binary VDF with a type for each AppID). GOG:
`goggame-ID.info` (JSON), `gameinfo` (its Linux installers: name in the first line). itch: `.itch/receipt.json.gz`.
Steam's shortcuts: `userdata/USER/config/shortcuts.vdf`. Engines: `_BESIDE`, `_INSIDE`, Unity's and Godot's data.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import stat
import struct
import zlib
from dataclasses import dataclass

from scx_gamer.games import userfiles
from scx_gamer.games.commandline import live_path
from scx_gamer.system.text import printable

MAX_NAME = 128
_MAX_APPINFO = 512 << 20
_MAX_APPS = 200_000
_NAMES = 512  # of an install folder that are looked at
_LEVELS = 3  # folders above the program that are looked at

_NAME = re.compile(r'^\s*"name"\s+"((?:[^"\\]|\\.)*)"', re.M | re.I)
_BUILD = re.compile(r'^\s*"buildid"\s+"([0-9]{1,20})"', re.M | re.I)
_MAGICS = {
    0x07564427: 40,
    0x07564428: 60,
    0x07564429: 60,
}  # version → bytes between an app's size and its keys
_MAX_SHORTCUTS = 1 << 20
_BESIDE = frozenset({
    "UnityPlayer.so", "libFNA3D.so.0", "FNA.dll", "MonoGame.Framework.dll", ".egstore", "libsteam_api.so",
    "steam_appid.txt",
})  # fmt: skip
# Folder → a name in it: RPG Maker MV and MZ, GameMaker, Ren'Py, FNA, a packaged project of Unreal's.
_INSIDE = (
    ("www/js", "rpg_core.js"), ("js", "rmmz_core.js"), ("assets", "game.unx"), ("renpy", "__init__.py"),
    ("renpy", "__init__.pyo"), ("lib64", "libFNA3D.so.0"), ("lib64", "libsteam_api.so"), ("Content", "Paks"),
)  # fmt: skip
_GAME_TYPES = frozenset({"game", "demo", "beta", "mod"})


@dataclass(frozen=True, slots=True)
class Record:
    """A store's or an engine's own mark of a game."""

    name: str
    evidence: str


def steam_name(folder: str, steam: str, app_id: int, mounts: userfiles.Mounts) -> str:
    """The name in Steam's manifest of an app that is installed at …/steamapps/common/FOLDER, or in the library of the
    client at `steam`; empty if unknown."""
    library = folder.partition("/common/")[0] if folder else f"{steam}/steamapps"
    found = _in_manifest(_NAME, library, app_id, mounts)
    return printable(found.replace('\\"', '"').strip(), MAX_NAME)


def steam_build(path: str, app_id: int, mounts: userfiles.Mounts) -> str:
    """The build of an app in Steam's manifest, which every update changes, by a path below …/steamapps/common; empty if
    unknown."""
    library, common, _ = path.partition("/common/")
    return _in_manifest(_BUILD, library, app_id, mounts) if common else ""


def _in_manifest(
    wanted: re.Pattern[str], library: str, app_id: int, mounts: userfiles.Mounts
) -> str:
    if not library.endswith("/steamapps") or not library.startswith("/"):
        return ""
    for place in places_of(library):
        text = userfiles.read_below(place, f"appmanifest_{app_id}.acf", mounts)
        found = wanted.search(text.decode("utf-8", "replace"))
        if found:
            return found[1]
    return ""


def places_of(path: str) -> list[str]:
    """A path as Steam names it, and where that is if this Steam is a Flatpak, whose home is another."""
    inside = re.match(r"^((?:/var)?/home/[^/]+)/(\.local/share/Steam|\.steam)(/.*)?$", path)
    if not inside:
        return [path]
    return [path, f"{inside[1]}/.var/app/com.valvesoftware.Steam/{inside[2]}{inside[3] or ''}"]


def shortcut_name(steam: str, number: int, mounts: userfiles.Mounts) -> str:
    """The name of a shortcut in any user's `shortcuts.vdf` (binary VDF) of Steam at this folder; empty if unknown."""
    key = b"\x02appid\0" + struct.pack("<I", number & 0xFFFFFFFF)
    for place in places_of(steam) if steam else ():
        for user in userfiles.names_below(place, "userdata", mounts, _NAMES):
            name = f"userdata/{user}/config/shortcuts.vdf"
            body = userfiles.read_below(place, name, mounts, _MAX_SHORTCUTS)
            _, mark, after = body.partition(key)
            found = re.match(rb"[^\x08]{0,64}?\x01appname\0([^\0]{1,512})\0", after, re.I | re.S)
            if mark and found:
                return _shown(found[1].decode("utf-8", "replace"))
    return ""


def path_of(windows: str, prefix: str = "") -> str:
    """The Linux path of a Windows program on drive Z:, which Wine maps to `/`, or on C: of a prefix; else empty."""
    path = windows.replace("\\", "/")
    drive = path[:2].lower()
    if drive == "c:" and prefix.startswith("/"):
        return f"{prefix.rstrip('/')}/drive_c{path[2:]}"
    path = path[2:] if drive == "z:" else path
    return path if path.startswith("/") else ""


class SteamTypes:
    """Types of AppIDs from Steam's `appinfo.vdf`, looked up once each; the file is walked header by header."""

    def __init__(self, mounts: userfiles.Mounts) -> None:
        self._mounts = mounts
        self._known: dict[tuple[str, int], str] = {}

    def is_software(self, steam: str, app_id: int) -> str:
        """The type, if Steam at this folder says that the app is no game; empty otherwise."""
        kind = self.type_of(steam, app_id)
        return kind if kind and kind not in _GAME_TYPES else ""

    def type_of(self, steam: str, app_id: int) -> str:
        key = steam, app_id
        if key not in self._known:
            if len(self._known) > 4096:
                self._known.clear()
            found = (self._read(place, app_id) for place in places_of(steam))
            self._known[key] = next(filter(None, found), "")
        return self._known[key]

    def _read(self, steam: str, app_id: int) -> str:
        if not steam or app_id >= 1 << 32:
            return ""
        fd = userfiles.open_below(steam, "appcache/appinfo.vdf", self._mounts)
        if fd < 0:
            return ""
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or not 16 <= found.st_size <= _MAX_APPINFO:
                return ""
            with mmap.mmap(fd, found.st_size, access=mmap.ACCESS_READ) as data:
                return app_type(data, app_id)
        except (OSError, ValueError):
            return ""
        finally:
            os.close(fd)


def app_type(data: bytes | mmap.mmap, app_id: int) -> str:
    """`common/type` of one app, lower case; empty for what is torn, unknown or not there."""
    try:
        (magic,) = struct.unpack_from("<I", data, 0)
        skip = _MAGICS.get(magic)
        if skip is None:
            return ""
        at = 8
        key = b"\x01type\0"
        if magic == 0x07564429:
            (table,) = struct.unpack_from("<q", data, 8)
            at = 16
            index = _string_index(data, table, b"type")
            if index is None:
                return ""
            key = b"\x01" + struct.pack("<I", index)
        for _ in range(_MAX_APPS):
            app, size = struct.unpack_from("<II", data, at)
            if app == 0:
                return ""
            if app == app_id:
                body = bytes(data[at + 8 : at + 8 + min(size, 1 << 20)])
                return _value(body[skip:], key)
            at += 8 + size
    except struct.error:
        pass
    return ""


def _value(body: bytes, key: bytes) -> str:
    found = body.find(key)
    if found < 0:
        return ""
    start = found + len(key)
    end = body.find(b"\0", start, start + 64)
    return body[start:end].decode("ascii", "replace").lower() if end > 0 else ""


def _string_index(data: bytes | mmap.mmap, table: int, wanted: bytes) -> int | None:
    """Position of a key in the table of strings at the end of the newer format."""
    if not 16 <= table < len(data):
        return None
    part = bytes(data[table + 4 : table + 4 + (64 << 10)])
    for index, name in enumerate(part.split(b"\0")):
        if name == wanted:
            return index
    return None


def of_program(path: str, mounts: userfiles.Mounts) -> Record | None:
    """The record of the install that a program's path lies in: its folder and those above it."""
    folder = path.rpartition("/")[0]
    for _ in range(_LEVELS):
        if folder.count("/") < 3:  # a home, or the system's
            return None
        if (found := _of_folder(folder, path, mounts)) is not None:
            return found
        folder = folder.rpartition("/")[0]
    return None


def is_electron(path: str, mounts: userfiles.Mounts) -> bool:
    """Return True if a program is Electron with an application beside it."""
    folder = live_path(path).rpartition("/")[0]
    return folder.count("/") > 1 and "app.asar" in userfiles.names_below(
        folder, "resources", mounts, _NAMES
    )


def _of_folder(folder: str, path: str, mounts: userfiles.Mounts) -> Record | None:
    names = set(userfiles.names_below(folder, ".", mounts, _NAMES))
    if ".itch" in names:
        return Record(_itch_name(folder, mounts), f"{folder} has an install record of itch")
    gog = next((n for n in sorted(names) if re.fullmatch(r"goggame-\d+\.info", n)), "")
    if gog:
        return Record(
            _json_name(userfiles.read_below(folder, gog, mounts), "name"),
            f"{folder}/{gog} is GOG's record",
        )
    if "gameinfo" in names and ("game" in names or "start.sh" in names):
        first = userfiles.read_below(folder, "gameinfo", mounts, 1024).split(b"\n")[0]
        return Record(
            _shown(first.decode("utf-8", "replace")), f"{folder}/gameinfo is GOG's record"
        )
    stem = re.sub(r"\.(x86_64|x86|bin|exe)$", "", path.rpartition("/")[2])
    if folder == path.rpartition("/")[0]:
        for mark in sorted({f"{stem}_Data", f"{stem}.pck", *_BESIDE} & names):
            return Record(_unity_name(folder, stem, mounts), f"{folder}/{mark} is a game engine's")
    for inner, mark in _INSIDE:
        if inner.partition("/")[0] in names and mark in userfiles.names_below(
            folder, inner, mounts, _NAMES
        ):
            return Record("", f"{folder}/{inner}/{mark} is a game engine's")
    return None


def _unity_name(folder: str, stem: str, mounts: userfiles.Mounts) -> str:
    """The product that Unity wrote beside its player: the second line of `app.info`."""
    text = userfiles.read_below(folder, f"{stem}_Data/app.info", mounts, 1024).decode(
        "utf-8", "replace"
    )
    return _shown(text.split("\n")[1]) if "\n" in text else ""


def _itch_name(folder: str, mounts: userfiles.Mounts) -> str:
    raw = userfiles.read_below(folder, ".itch/receipt.json.gz", mounts)
    try:
        text = zlib.decompressobj(wbits=31).decompress(raw, 256 << 10)
    except zlib.error:
        return ""
    return _json_name(text, "game", "title")


def _json_name(raw: bytes, *keys: str) -> str:
    try:
        value = json.loads(raw)
        for key in keys:
            value = value[key]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return _shown(value) if isinstance(value, str) else ""


def _shown(text: str) -> str:
    return printable(text.strip(), MAX_NAME)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Process trees written from what launchers are known to start, in one short notation.

One line a process: indentation is parenthood, then pid, executable, and the command line if it differs. `KEY=value`
words in square brackets are its environment; `@draws`, `@cg=PATH`, `@uid=N`, `@flatpak=ID` among the words of the
command line say what else is known of it. `~` is a blank inside a word.
"""

from __future__ import annotations

import re
from dataclasses import replace

from scx_gamer.games.proc import Process

LINE = re.compile(
    r"^(?P<indent> *)(?P<pid>\d+) (?P<exe>\S+)(?: (?P<argv>[^\[]*?))?(?: \[(?P<env>.*)\])?$"
)


def parse(text: str, *, uid: int = 1000) -> list[Process]:
    processes: list[Process] = []
    stack: list[tuple[int, int]] = []
    for line in text.strip("\n").splitlines():
        if not line.strip():
            continue
        found = LINE.match(line)
        assert found, f"not a process line: {line!r}"
        indent = len(found["indent"])
        while stack and stack[-1][0] >= indent:
            stack.pop()
        exe = found["exe"].replace("~", " ")
        words = (found["argv"] or "").split()
        known = dict(w[1:].partition("=")[::2] for w in words if w.startswith("@"))
        argv = tuple(w.replace("~", " ") for w in words if not w.startswith("@")) or (exe,)
        env = dict(word.split("=", 1) for word in (found["env"] or "").split())
        pid = int(found["pid"])
        processes.append(
            Process(
                pid=pid,
                ppid=stack[-1][1] if stack else 1,
                start_ticks=pid * 10,
                comm=exe.replace("\\", "/").rsplit("/", 1)[-1][:15],
                argv=argv,
                exe=exe,
                uid=int(known.get("uid", uid)),
                env=env,
                cgroup=known.get("cg", ""),
                flatpak=known.get("flatpak", ""),
            )
        )
        stack.append((indent, pid))
    return processes


class FakeProc:
    """A `/proc` made of such a tree: what the tracker's Protocol asks for."""

    def __init__(self, *texts: str) -> None:
        self.processes = {p.pid: p for text in texts for p in parse(text)}
        self.render: set[int] = {
            int(line.split()[0])
            for text in texts
            for line in text.splitlines()
            if " @draws" in line
        }
        self.reads = 0  # of a whole process

    def pids(self) -> list[int]:
        return list(self.processes)

    def read(self, pid: int, known: Process | None = None) -> Process | None:
        self.reads += 1
        return self.processes.get(pid)

    def is_same(self, known: Process) -> bool:
        found = self.processes.get(known.pid)
        return found is not None and (found.identity, found.exe) == (known.identity, known.exe)

    def is_roots(self, process: Process, script: str = "") -> bool:
        return all(path.startswith("/usr/") for path in (process.exe, script) if path)

    def has_render_node(self, pid: int) -> bool:
        return pid in self.render

    def kill(self, *pids: int) -> None:
        for pid in pids:
            del self.processes[pid]

    def reuse(self, pid: int, exe: str) -> None:
        """Another process gets the pid."""
        old = self.processes[pid]
        self.processes[pid] = replace(
            old,
            exe=exe,
            argv=(exe,),
            comm=exe.rsplit("/", 1)[-1][:15],
            start_ticks=old.start_ticks + 1,
            ppid=1,
        )


STEAM_CLIENT = """
100 /home/u/.steam/ubuntu12_32/steam
  110 /home/u/.steam/ubuntu12_64/steamwebhelper
    111 /home/u/.steam/ubuntu12_64/steamwebhelper
  120 /usr/bin/python3.11 python3 /home/u/.steam/steamapps/common/SteamLinuxRuntime/_v2-entry-point
"""

STEAM_PROTON = (
    STEAM_CLIENT
    + """
  130 /home/u/.steam/ubuntu12_32/reaper reaper SteamLaunch AppId=1091500 -- /p/proton waitforexitandrun /g/CP.exe
    131 /usr/lib/pressure-vessel/pv-adverb
      132 /usr/bin/python3.11 python3 /home/u/Proton/proton waitforexitandrun /g/bin/Cyberpunk2077.exe
        133 /p/files/bin/wine64-preloader Z:\\g\\bin\\Cyberpunk2077.exe @draws [SteamAppId=1091500 WINEPREFIX=/pfx]
      140 /home/u/Proton/files/bin/wineserver [WINEPREFIX=/pfx]
      141 /home/u/Proton/files/bin/wine64-preloader C:\\windows\\system32\\services.exe [WINEPREFIX=/pfx]
      142 /home/u/Proton/files/bin/wine64-preloader C:\\windows\\system32\\explorer.exe /desktop [WINEPREFIX=/pfx]
      143 /home/u/Proton/files/bin/wine64-preloader C:\\g\\UnityCrashHandler64.exe [WINEPREFIX=/pfx]
"""
)

STEAM_NATIVE = (
    STEAM_CLIENT
    + """
  150 /home/u/.steam/ubuntu12_32/reaper reaper SteamLaunch AppId=440 -- /g/hl2.sh -game tf
    151 /usr/bin/bash bash /g/hl2.sh -game tf
      152 /g/hl2_linux hl2_linux -game tf [SteamAppId=440]
  160 /home/u/.steam/ubuntu12_32/fossilize_replay
"""
)

STEAM_SHORTCUT = (
    STEAM_CLIENT
    + """
  170 /home/u/.steam/ubuntu12_32/reaper reaper SteamLaunch AppId=14391234567890123456 -- /g/thing
    171 /g/thing
"""
)

STEAM_UI_IN_GAMESCOPE = """
200 /usr/bin/gamescope gamescope -e -- steam -gamepadui
  201 /home/u/.steam/ubuntu12_32/steam [SteamAppId=769]
    202 /home/u/.steam/ubuntu12_64/steamwebhelper [SteamAppId=769]
"""

UMU = """
300 /usr/bin/python3.12 python3 /usr/bin/umu-run /g/Game.exe
  301 /usr/lib/pressure-vessel/srt-bwrap
    302 /usr/bin/python3.12 python3 /opt/GE-Proton/proton waitforexitandrun /g/Game.exe [GAMEID=umu-123 SteamAppId=0]
      303 /opt/GE-Proton/files/bin/wine64-preloader Z:\\g\\Game.exe @draws [GAMEID=umu-123]
"""

LUTRIS = """
400 /usr/bin/python3.12 python3 /usr/bin/lutris
  401 /usr/bin/python3.12 lutris-wrapper:~Quake
    402 /g/quake
"""

HEROIC = """
500 /opt/Heroic/heroic
  501 /opt/Heroic/heroic heroic --type=zygote
  502 /opt/Heroic/resources/legendary legendary launch Sugar
    503 /usr/bin/wine64 C:\\Games\\Sugar.exe @draws
"""

BOTTLES_FLATPAK = """
600 /usr/bin/bwrap bwrap --args 40 bottles
  601 /usr/bin/python3.11 python3 /app/bin/bottles
    602 /var/data/runners/wine64-preloader C:\\Program~Files\\Ori.exe @draws [WINEPREFIX=/var/data/bottles/b]
"""

GAMESCOPE = """
700 /usr/bin/gamescope gamescope -W 1920 -- supertuxkart
  701 /usr/bin/Xwayland
  702 /usr/games/supertuxkart
"""

PLAIN_WINE = """
800 /usr/bin/bash
  801 /usr/lib/wine/wine64 wine64 /g/winmine.exe @draws
900 /usr/lib/wine/wineserver64
901 /usr/lib/wine/wine64 C:\\windows\\system32\\services.exe
"""

# Debian's Wine, a console program started with `wine ping`: what tests/vm/detect/capture.py printed outside the VM,
# with shorter pids. tests/vm/wine runs Wine in the VM.
WINE_CAPTURED = """
820 /usr/lib/wine/wine64 start.exe /exec ping -n 20 [WINEPREFIX=/home/u/.wine]
821 /usr/lib/wine/wineserver64 /usr/lib/wine/wineserver64 -p0 [WINEPREFIX=/home/u/.wine]
822 /usr/lib/wine/wine64 C:\\windows\\system32\\services.exe [WINEPREFIX=/home/u/.wine]
823 /usr/lib/wine/wine64 C:\\windows\\system32\\winedevice.exe [WINEPREFIX=/home/u/.wine]
824 /usr/lib/wine/wine64 C:\\windows\\system32\\winedevice.exe [WINEPREFIX=/home/u/.wine]
825 /usr/lib/wine/wine64 C:\\windows\\system32\\explorer.exe /desktop [WINEPREFIX=/home/u/.wine]
826 /usr/lib/wine/wine64 C:\\windows\\system32\\plugplay.exe [WINEPREFIX=/home/u/.wine]
827 /usr/lib/wine/wine64 C:\\windows\\system32\\svchost.exe -k LocalServiceNetworkRestricted [WINEPREFIX=/home/u/.wine]
828 /usr/lib/wine/wine64 C:\\windows\\system32\\rpcss.exe [WINEPREFIX=/home/u/.wine]
829 /usr/lib/wine/wine64 C:\\windows\\system32\\ping.exe -n 20 127.0.0.1 [WINEPREFIX=/home/u/.wine]
"""

DOOM = """
1000 /usr/bin/bash
  1001 /usr/games/chocolate-doom
"""

SCRIPT_ENGINE = """
1100 /usr/bin/bash
  1101 /usr/lib/engine/engine engine -iwad x
"""

DESKTOP_IDLE = """
10 /usr/lib/systemd/systemd systemd --user
  11 /usr/bin/gnome-shell
    12 /usr/bin/Xwayland
    13 /usr/lib/firefox/firefox
      14 /usr/lib/firefox/firefox firefox -contentproc
  15 /usr/bin/plasmashell
  16 /usr/bin/kwin_wayland
  17 /usr/bin/pipewire
  18 /usr/bin/wireplumber
  19 /usr/bin/nautilus
  20 /usr/lib/electron/electron electron /usr/lib/code
"""

BROWSER_FROM_STEAM = (
    STEAM_CLIENT
    + """
  180 /usr/lib/firefox/firefox firefox https://store [SteamAppId=440 SteamGameId=440]
    181 /usr/lib/firefox/firefox firefox -contentproc [SteamAppId=440]
  185 /usr/bin/konsole [SteamAppId=440]
    186 /usr/bin/bash [SteamAppId=440]
"""
)

COMPILE = """
50 /usr/bin/make make -j8
  51 /usr/bin/gcc gcc -c game.c
    52 /usr/lib/gcc/cc1 cc1 game.c
"""


def game_of(members: int) -> tuple[FakeProc, Process]:
    """Return a Steam game of that many processes below its first one, and that one."""
    proc = FakeProc("3 /s/reaper reaper SteamLaunch AppId=440 -- /g/run\n  4 /g/run")
    one = proc.processes[4]
    for pid in range(5, members + 4):
        proc.processes[pid] = replace(one, pid=pid, ppid=4, start_ticks=pid)
    return proc, one

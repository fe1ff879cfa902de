# SPDX-License-Identifier: GPL-2.0-or-later
"""Set-ups as players have them, by kind: the tree, the entries of the machine, and the game that a player would name.

`source` names where the shape of the tree is from. docs/detection.md has a row for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

S = "/home/u/.local/share/Steam"
COMMON = f"{S}/steamapps/common"
REAPER = f"{S}/ubuntu12_32/reaper reaper SteamLaunch"
FLATPAK = "@cg=/app.slice/app-flatpak-"


@dataclass(frozen=True)
class Setup:
    """One set-up. `main` 0: nothing of it is a game. `aside`: processes that must not have class GAME."""

    title: str
    source: str
    tree: str
    main: int = 0
    name: str = ""
    app_id: str = ""
    rule: str = ""
    aside: tuple[int, ...] = ()
    critical: tuple[int, ...] = ()
    entries: tuple[str, ...] = ()  # texts of desktop entries
    programs: dict[str, str] = field(
        default_factory=dict
    )  # path → name of an entry of Category Game


def entry(name: str, command: str, categories: str = "Game;") -> str:
    return (
        f"[Desktop Entry]\nType=Application\nName={name}\nExec={command}\nCategories={categories}\n"
    )


SETUPS = (
    Setup(
        "Minecraft, class path longer than 4096 characters",
        "PrismLauncher launcher/minecraft/launch/LauncherPartLaunch.cpp",
        "10 /usr/bin/prismlauncher @draws\n  11 /usr/lib/jvm/java-21/bin/java java -cp "
        + ":".join(f"/l/lib{n}-1.0.jar" for n in range(300))
        + ":/l/minecraft-1.20.2-client.jar org.prismlauncher.EntryPoint @draws",
        main=11, name="Minecraft", rule="java",
    ),
    Setup(
        "Minecraft server", "minecraft.wiki, Tutorials/Setting up a server",
        "11 /usr/lib/jvm/java-21/bin/java java -Xmx4G -jar server.jar nogui",
    ),
    Setup(
        "A wrapper is told an .exe, the game is over, a store's service stays", "Heroic issue 3879",
        "12 /usr/bin/python3.12 python3 /usr/bin/umu-run /g/Game.exe [GAMEID=umu-0]\n"
        "  13 /opt/p/proton python3 /opt/p/proton waitforexitandrun /g/Game.exe [GAMEID=umu-0]\n"
        "  14 /p/wine64-preloader C:\\windows\\system32\\services.exe\n"
        "    15 /p/wine64-preloader C:\\EA\\AnyService.exe @draws",
    ),
    Setup(
        "Lutris' wrapper has written over its command line", "lutris share/lutris/bin/lutris-wrapper",
        "20 /usr/bin/python3.12 python3 /usr/bin/lutris\n"
        "  21 /usr/bin/python3.12 lutris-wrapper:~Deus~Ex\n    22 /home/u/g/deusex-bin",
        main=22, name="Deus Ex", rule="launcher",
    ),
    Setup(
        "Steam game whose name is a compositor's", "store page of River",
        f"30 {REAPER} AppId=7 -- {COMMON}/River/River\n  31 {COMMON}/River/River @draws",
        main=31, name="River", app_id="7", rule="steam",
    ),
    Setup(
        "Unreal bootstrap starts the program that draws", "Unreal Engine, BootstrapPackagedGame",
        f"30 {REAPER} AppId=7 -- /p/proton waitforexitandrun {COMMON}/Pal/Pal.exe\n"
        f"  31 /opt/p/proton python3 /opt/p/proton waitforexitandrun {COMMON}/Pal/Pal.exe\n"
        "  32 /p/wine64-preloader S:\\common\\Pal\\Pal.exe\n"
        "    33 /p/wine64-preloader S:\\common\\Pal\\Bin\\Pal-Win64-Shipping.exe @draws",
        main=33, name="Pal", app_id="7", rule="steam",
    ),
    Setup(
        "Steam game whose program is called as a part of Wine", "Steam, setup.exe and start.exe of games",
        f"30 {REAPER} AppId=7 -- /p/proton waitforexitandrun {COMMON}/Tango/setup.exe\n"
        "  31 /p/wine64-preloader S:\\common\\Tango\\start.exe @draws\n"
        "  32 /p/wine64-preloader C:\\windows\\system32\\start.exe",
        main=31, name="Tango", app_id="7", rule="steam",
    ),
    Setup(
        "Flatpak whose id systemd escapes", "flatpak common/flatpak-run.c",
        f"40 /usr/bin/bwrap bwrap emu {FLATPAK}org.Some.dolphin\\x2demu-1.scope\n"
        f"  41 /app/bin/emu {FLATPAK}org.Some.dolphin\\x2demu-1.scope @draws\n"
        f"  42 /usr/bin/some-helper {FLATPAK}org.Some.dolphin\\x2demu-1.scope",
        main=41, name="Emu", rule="desktop-entry",
        entries=(entry("Emu", "flatpak run --command=emu-wrapper org.Some.dolphin-emu"),),
    ),
    Setup(
        "Flatpak without systemd", "flatpak, /.flatpak-info",
        "40 /usr/bin/bwrap bwrap game\n  41 /app/bin/game @flatpak=org.some.Game @draws",
        main=41, name="Some Game", rule="desktop-entry",
        entries=(entry("Some Game", "flatpak run --command=game org.some.Game"),),
    ),
    Setup(
        "Launcher's Flatpak with its helpers", "com.heroicgameslauncher.hgl, Zypak",
        f"40 /usr/bin/bwrap bwrap x {FLATPAK}org.any.Store-1.scope\n"
        f"  41 /app/store/anystore {FLATPAK}org.any.Store-1.scope @draws\n"
        f"    42 /usr/bin/cat cat {FLATPAK}org.any.Store-1.scope\n"
        f"    43 /app/store/anystore anystore --type=gpu-process {FLATPAK}org.any.Store-1.scope @draws",
        entries=(entry("Any Store", "flatpak run --command=anystore org.any.Store"),),
    ),
    Setup(
        "Flatpak's portal takes the game out of the reaper's tree", "gamescope issue 484",
        f"30 {REAPER} AppId=570 -- {COMMON}/dota/dota.sh\n  31 /usr/bin/bash bash {COMMON}/dota/dota.sh\n"
        "35 /usr/libexec/flatpak-portal\n  36 /usr/bin/bwrap bwrap x [SteamAppId=570]\n"
        f"    37 {COMMON}/dota/dota2 @draws [SteamAppId=570]",
        main=37, name="dota", app_id="570", rule="steam",
    ),
    Setup(
        "Steam launch option without %command%", "steam-for-linux, scope app-steam-appID-N",
        f"29 {S}/ubuntu12_32/steam\n"
        "  30 /usr/bin/dash sh -c /home/u/run @cg=/app-steam-app440-30.scope [SteamAppId=440]\n"
        "    31 /home/u/g/hl2_linux @cg=/app-steam-app440-30.scope @draws [SteamAppId=440]",
        main=31, app_id="440", rule="steam",
    ),
    Setup(
        "Entry that names a generic program", "TLauncher's entry, Exec=java -jar",
        "50 /usr/lib/jvm/java-21/bin/java java -jar /opt/gradle.jar\n"
        "51 /usr/bin/love love /home/u/editor.love @draws\n52 /usr/bin/distrobox distrobox enter -n arch",
        entries=(
            entry("T", "java -jar /opt/tl.jar"), entry("L", "love /usr/share/games/x.love"),
            entry("D", "distrobox enter -n arch -- kart"),
        ),
    ),
    Setup(
        "LÖVE game by its argument", "love(6)",
        "51 /usr/bin/love love /usr/share/games/x.love @draws",
        main=51, name="L", rule="desktop-entry", entries=(entry("L", "love /usr/share/games/x.love"),),
    ),
    Setup(
        "Snap, whose entry begins with env", "snapd, desktop files",
        "52 /snap/kart/12/bin/kart kart @draws", main=52, name="Kart", rule="desktop-entry",
        entries=(entry("Kart", "env BAMF_DESKTOP_FILE_HINT=/x /snap/bin/kart %U"),),
    ),
    Setup(
        "Game in a distrobox", "distrobox-export",
        "53 /usr/bin/conmon conmon -c x\n  54 /usr/bin/kart-in-box kart-in-box @cg=/libpod-ab.scope @draws",
        main=54, name="D", rule="desktop-entry",
        entries=(entry("D", "distrobox enter -n arch -- kart-in-box"),),
    ),
    Setup(
        "AppImage and its FUSE server", "AppImage type2-runtime src/runtime/runtime.c",
        "60 /tmp/.mount_gAbCd/usr/bin/game game @draws [APPIMAGE=/home/u/g.AppImage]\n"
        "61 /home/u/g.AppImage ./g.AppImage",
        main=60, name="G", rule="desktop-entry", aside=(61,), programs={"/home/u/g.AppImage": "G"},
    ),
    Setup(
        "Store of Electron in Wine, idle", "Chromium, content_switches.cc",
        "70 /opt/w/wine64-preloader C:\\Store\\Any~Store.exe @draws\n"
        "  71 /opt/w/wine64-preloader C:\\Store\\Any~Store.exe --type=gpu-process @draws",
    ),
    Setup(
        "Game started from a store of Electron in Wine", "RSI Launcher",
        "70 /opt/w/wine64-preloader C:\\Store\\Any~Store.exe @draws\n"
        "  71 /opt/w/wine64-preloader C:\\Store\\Any~Store.exe --type=gpu-process @draws\n"
        "  72 /opt/w/wine64-preloader C:\\Games\\Star.exe @draws",
        main=72, name="Star", rule="launcher", aside=(70, 71),
    ),
    Setup(
        "Steam runs Proton itself", "steam-for-linux issue 8113",
        f"80 {S}/ubuntu12_32/steam\n  81 /opt/p/proton python3 /opt/p/proton run /b/anyquery64.exe\n"
        "    82 /opt/w/wine64-preloader Z:\\b\\anyquery64.exe @draws [SteamAppId=0]",
    ),
    Setup(
        "Python game", "PySolFC data/pysol.desktop",
        "90 /usr/bin/python3.12 /usr/bin/python3 /usr/bin/pysol.py",
        main=90, name="PySol", rule="desktop-entry", programs={"/usr/bin/pysol.py": "PySol"},
    ),
    Setup(
        "Shell script with options starts its engine", "0ad build/resources/0ad.sh",
        "90 /usr/bin/dash /bin/sh -e /usr/games/x\n  91 /usr/lib/x/engine @draws",
        main=91, name="X", rule="desktop-entry", programs={"/usr/games/x": "X"},
    ),
    Setup(
        "Script has become the program beside it", "Ryujinx distribution/linux/Ryujinx.sh",
        "90 /opt/ryujinx/Ryujinx @draws", main=90, name="R", rule="desktop-entry",
        programs={"/opt/ryujinx/Ryujinx.sh": "R"},
    ),
    Setup(
        "An upgrade has replaced the program", "proc(5), exe",
        "90 /usr/games/doom~(deleted) doom", main=90, name="Doom", rule="desktop-entry",
        programs={"/usr/games/doom": "Doom"},
    ),
    Setup(
        "Words of arguments", "umu-launcher, legendary, fabric-loader",
        "100 /usr/bin/vim vim /usr/bin/umu-run\n101 /usr/bin/make make -C proton run\n"
        "102 /usr/share/code/code code /home/u/src/legendary @draws\n  103 /home/u/ra rust-analyzer @draws\n"
        "104 /usr/bin/grep grep -r net.minecraft.client.main.Main /src",
    ),
    Setup(
        "Windows program that does not draw", "Notepad++ issue 8510",
        "110 /usr/lib/wine/wine64 C:\\Notepad++\\notepad++.exe\n111 /usr/lib/wine/wine64 C:\\foobar2000.exe",
    ),
    Setup(
        "Two programs that draw in one prefix", "Wine, WINEPREFIX",
        "110 /usr/lib/wine/wine64 C:\\g\\Game.exe @draws [WINEPREFIX=/p]\n"
        "112 /usr/lib/wine/wine64 C:\\g\\Editor.exe @draws [WINEPREFIX=/p]",
        main=112, rule="wine",
    ),
    Setup(
        "Native game from a launcher", "Heroic, games.ts",
        "120 /opt/Heroic/heroic @draws\n  121 /home/u/Games/c/Celeste @draws [HEROIC_APP_NAME=x]",
        main=121, name="Celeste", rule="launcher",
    ),
    Setup(
        "Steam's software and VR", "Proton issue 6996; SteamVR-for-Linux issue 518",
        f"130 {REAPER} AppId=250820 -- {COMMON}/SteamVR/bin/vrstartup.sh\n"
        "  131 /usr/lib/vr/vrserver\n  132 /usr/lib/vr/vrcompositor @draws\n"
        f"133 {REAPER} AppId=546560 -- {COMMON}/Alyx/hlvr\n  134 {COMMON}/Alyx/hlvr @draws",
        main=134, name="Alyx", app_id="546560", rule="steam", critical=(131, 132),
    ),
    Setup(
        "gamescope's own children", "gamescope src/steamcompmgr.cpp",
        "140 /usr/bin/gamescope gamescope --mangoapp -- supertux2\n"
        "  141 /usr/bin/gamescopereaper gamescopereaper -- mangoapp\n    142 /usr/bin/mangoapp @draws\n"
        "  143 /usr/bin/gamescopereaper gamescopereaper -- supertux2\n    144 /usr/bin/supertux2 @draws",
        main=144, name="supertux2", rule="gamescope", aside=(142,), critical=(140,),
    ),
    Setup(
        "A desktop in gamescope", "gamescope, nested Plasma",
        "140 /usr/bin/gamescope gamescope -- startplasma-wayland\n"
        "  141 /usr/bin/startplasma-wayland\n    142 /usr/bin/plasmashell @draws\n    143 /usr/bin/kwrite @draws",
    ),
    Setup(
        "An editor opened from a game", "steamtinkerlaunch issue 814",
        f"150 {REAPER} AppId=7 -- {COMMON}/Rim/start.sh\n  151 {COMMON}/Rim/RimLinux @draws\n"
        "    152 /usr/bin/sort sort /home/u/log @draws",
        main=151, name="Rim", app_id="7", rule="steam", aside=(152,),
        entries=(entry("Sort", "/usr/bin/sort %F", "Utility;TextEditor;"),),
    ),
    Setup(
        "A terminal that a launch option puts around the game", "Steam launch options",
        f"150 {REAPER} AppId=7 -- konsole -e {COMMON}/Rim/RimLinux\n  151 /usr/bin/konsole @draws\n"
        f"    152 {COMMON}/Rim/RimLinux @draws",
        main=152, name="Rim", app_id="7", rule="steam", aside=(151,),
    ),
    Setup(
        "A trainer outlives the game", "WeMod",
        f"160 {REAPER} AppId=7 -- /p/proton waitforexitandrun {COMMON}/G/G.exe\n"
        "  161 /opt/w/wine64-preloader C:\\users\\u\\AnyTrainer.exe @draws\n"
        "    162 /opt/w/wine64-preloader C:\\users\\u\\AnyTrainer.exe --type=renderer",
    ),
    Setup(
        "Game of NW.js on Steam", "NW.js, Electron",
        f"160 {REAPER} AppId=7 -- {COMMON}/Cross/Cross\n  161 {COMMON}/Cross/Cross @draws\n"
        f"    162 {COMMON}/Cross/Cross Cross --type=gpu-process @draws",
        main=161, name="Cross", app_id="7", rule="steam",
    ),
    Setup(
        "Input daemons that are scripts", "input-remapper, Handheld Daemon",
        "170 /usr/bin/python3.12 python3 /usr/bin/input-remapper-service @uid=0\n171 /usr/bin/keyd @uid=0\n"
        "172 /usr/bin/python3.12 python3 /home/u/input-remapper-service\n173 /home/u/keyd\n"
        f"150 {REAPER} AppId=7 -- {COMMON}/Rim/RimLinux\n  151 {COMMON}/Rim/RimLinux @draws",
        main=151, name="Rim", app_id="7", rule="steam", critical=(170, 171), aside=(172, 173),
    ),
)  # fmt: skip

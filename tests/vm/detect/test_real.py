# SPDX-License-Identifier: GPL-2.0-or-later
"""Real games, found without being told: by the desktop entries that their packages install."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import kernel
from tests.java import class_file
from tests.vm.detect.capture import capture
from tests.vm.detect.conftest import CLASS_GAME, Desk, KernelMap, end_games, found
from tests.vm.harness import Supervised, start_supervisor, wait_until
from tests.vm.promises.meters import BUSYBOX

GAMES = Path("/usr/games")
UPROBES = Path("/sys/kernel/tracing/uprobe_events")
# Kinds of links that reach the kernel's own functions, tracepoints and operations, and nothing of a program's.
# enum bpf_link_type: raw tracepoint, tracing, struct_ops
OF_THE_KERNEL = {1, 2, kernel.LINK_STRUCT_OPS}
HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}


@pytest.fixture(scope="module")
def knowing() -> Iterator[Supervised]:
    """A supervisor that knows this machine's own desktop entries."""
    options = SupervisorOptions(mode="auto", input=False)
    with start_supervisor(options, state="idle") as supervised:
        yield supervised


@pytest.fixture
def installed(desk: Desk, knowing: Supervised) -> Iterator[Supervised]:
    yield knowing
    end_games(desk, knowing)


@pytest.mark.needs("/usr/games/chocolate-doom")
@pytest.mark.parametrize(
    ("program", "argv", "name"),
    [
        ("chocolate-doom", ("-iwad", "/usr/share/games/doom/freedoom1.wad"), "Chocolate Doom"),
        # a script that executes an engine, which is another entry's program
        ("freedoom1", (), "Phase 1"),
    ],
)
def test_a_packaged_game_is_found(
    desk: Desk, installed: Supervised, program: str, argv: tuple[str, ...], name: str
) -> None:
    path = GAMES / program
    assert path.exists(), f"{path} is missing: apt install chocolate-doom freedoom"
    home = {**HEADLESS, "HOME": str(desk.root)}
    with KernelMap("classes") as classes:
        pid = desk.start(path, str(path), *argv, "-nosound", "-nogui", env=home)
        wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
        installed.wait_state("attached")
        told = installed.ask("explain", pid=pid)
        print(capture([pid]))
        print(f"{told['lineage']}: {told['rule']}, {told['evidence']}")
        assert told["game"] and told["rule"] == "desktop-entry" and told["name"] == name
        tracer = [
            line
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("TracerPid")
        ]
        assert tracer == ["TracerPid:\t0"], "nothing attaches to a game"
        wait_until("all hooks", lambda: installed.status()["detection"]["threads"] == "ok", 60)
        names = kernel.names("link")
        links = {names[link.id]: link.type for link in kernel.links()}
        assert {"on_exec", "on_wakeup", "scx_gamer_ops"} <= links.keys()
        assert set(links.values()) == OF_THE_KERNEL, links
        if UPROBES.exists():
            assert UPROBES.read_text() == ""


@pytest.mark.needs("/usr/bin/java")
def test_a_java_program_with_minecrafts_main_class_is_found(
    desk: Desk, installed: Supervised
) -> None:
    main = "net.minecraft.client.main.Main"
    folder = desk.root / "classes"
    path = folder / f"{main.replace('.', '/')}.class"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(class_file(main.replace(".", "/")))
    libraries = ":".join(f"/libraries/lib{n}/1.0/lib{n}-1.0.jar" for n in range(300))
    java = Path("/usr/bin/java").resolve()
    pid = desk.start(java, "java", "-Xint", "-Xshare:auto", "-cp", f"{libraries}:{folder}", main)
    told = found(installed, pid)
    assert told["name"] == "Minecraft" and told["rule"] in ("java", "profile")
    reader = desk.start(desk.program("grep", BUSYBOX), "sleep", "1000", main)
    assert not installed.ask("explain", pid=reader)["game"], "it only mentions the class"

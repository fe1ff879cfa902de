# SPDX-License-Identifier: GPL-2.0-only
"""The rooms of the code: who may import whom, which package belongs where, what every file carries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PACKAGE = TREE / "scx_gamer"

# Rooms from the top down: a room imports from those below it, or from its own level, never upwards.
LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"cli", "__main__"}),
    frozenset({"bench", "doctor", "leakcheck", "launch", "client", "report", "trace", "agent"}),
    frozenset({"supervisor", "operations", "status", "rooms", "lives", "heartbeat", "buslink", "dbus", "metrics"}),
    frozenset({"machine", "scheduler", "observe", "games", "input", "netlimit", "control_server",
               "publish", "dumps", "snapshot", "exporter", "tuning", "hints"}),
    frozenset({"loop", "feed", "stats", "state", "exits", "options", "control", "notify", "instance", "topology",
               "kernelstate", "login", "hud", "redact", "watch", "inotify"}),
    frozenset({"libbpf", "profiles", "config", "paths", "procfs", "text", "tomlfile", "netconfig"}),
)  # fmt: skip
OWNERS = {
    "evdev": {"input"},
    "pyudev": {"input"},
    "prometheus_client": {"metrics"},
    "typer": {"cli"},
    "dbus_next": {"dbus"},
    "bcc": {"trace"},
    "rich": {"cli"},
    "Xlib": {"agent"},
}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names a module imports at run time, wherever in it; `if TYPE_CHECKING` does not count."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(path.read_text()))
    return found


def level(name: str) -> int:
    for number, rooms in enumerate(LEVELS):
        if name in rooms:
            return number
    pytest.fail(f"scx_gamer/{name} has no place in LEVELS: decide which room it is")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_room_imports_upwards(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    mine = level(room(path))
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "scx_gamer" and len(parts) > 1 and parts[1] != "__version__":
            assert level(parts[1]) >= mine, f"{path.name} imports {name} from above"


def test_each_package_is_imported_in_its_own_room_only() -> None:
    for path in modules():
        for name in imports(path):
            owners = OWNERS.get(name.split(".")[0])
            assert owners is None or room(path) in owners, f"{path.name} imports {name}"


def test_the_supervisor_starts_without_what_it_does_not_need() -> None:
    program = (
        "import sys, scx_gamer.supervisor; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TREE
    ).stdout.split()
    assert not {
        "typer",
        "rich",
        "prometheus_client",
        "dbus_next",
        "asyncio",
        "bcc",
        "Xlib",
    } & set(loaded)


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
        cwd=TREE,
    ).stdout.splitlines()
    return [TREE / n for n in names if (TREE / n).is_file()]


def test_every_source_file_names_its_license() -> None:
    wanted = {".py", ".c", ".h", ".toml", ".sh", ".service", ".mk", ".yml"}
    missing = [
        str(p.relative_to(TREE))
        for p in tracked()
        if (p.suffix in wanted or p.read_bytes()[:2] == b"#!")
        and b"SPDX-License-Identifier: GPL-2.0-only" not in p.read_bytes()[:300]
    ]
    assert not missing


def test_no_sources_of_constants_twice() -> None:
    """abi.h is the only place of a shared struct: no Python file spells one of its constants as a number."""
    for path in modules():
        text = path.read_text()
        assert "SCXG_NR_CLASSES =" not in text and "ABI_VERSION = " not in text, path

# SPDX-License-Identifier: GPL-2.0-or-later
"""Layout rules: which package imports which, where third-party packages belong, the header of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PACKAGE = TREE / "scx_gamer"

# The packages from the bottom up, and which others each may import at run time.
MAY_IMPORT: dict[str, frozenset[str]] = {
    name: frozenset(others.split())
    for name, others in {
        "system": "",
        "libbpf": "system",
        "config": "system",
        "control": "system",
        "observe": "libbpf system",
        "input": "libbpf system",
        "profiles": "config libbpf system",
        "scheduler": "observe config libbpf system",
        "dbus": "control system",
        "netlimit": "libbpf config control system",
        "games": "observe profiles config libbpf system",
        "frames": "games observe libbpf system",
        "metrics": "scheduler libbpf system",
        "sessions": "control system",
        "service": "sessions metrics frames games netlimit dbus scheduler profiles input observe control config"
        " libbpf system",
        "agent": "sessions dbus system",
        "trace": "system",
        "leakcheck": "games netlimit scheduler observe libbpf system",
        "bench": "frames control libbpf system",
        "compare": "bench frames control libbpf system",
        "tune": "compare bench frames games profiles config libbpf control system",
        "doctor": "trace games netlimit metrics scheduler profiles input control config libbpf system",
        "cli": "doctor tune compare bench leakcheck trace agent service sessions metrics netlimit dbus profiles input"
        " control config libbpf system",
        "__main__": "cli",
    }.items()
}  # fmt: skip
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


def package_of(path: Path) -> str:
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


def test_the_table_has_every_package_and_goes_one_way() -> None:
    assert {package_of(p) for p in modules()} - {"__init__"} == MAY_IMPORT.keys()
    below: set[str] = set()
    for name, others in MAY_IMPORT.items():
        assert others <= below, f"{name} may import {sorted(others - below)}, which come after it"
        below.add(name)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_package_imports_only_what_the_table_allows(path: Path) -> None:
    mine = package_of(path)
    if mine == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "scx_gamer" and len(parts) > 1 and parts[1] not in ("__version__", mine):
            assert parts[1] in MAY_IMPORT[mine], f"{mine} must not import {name}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".__init__")


def test_no_modules_import_each_other_in_a_circle() -> None:
    """A face (`__init__`) imports what its package shows, so an import of the face alone closes no circle."""
    faces = {module_name(p) for p in modules() if p.name == "__init__.py"}
    names = {module_name(p) for p in modules()} - faces
    edges = {
        module_name(path): {
            target
            for name in imports(path)
            for target in (name, name.rpartition(".")[0])
            if target in names
        }
        for path in modules()
        if module_name(path) not in faces
    }
    while leaves := {name for name, others in edges.items() if not others & edges.keys()}:
        for name in leaves:
            del edges[name]
    assert not edges, f"these import each other: {sorted(edges)}"


def test_each_third_party_package_is_imported_in_its_own_place_only() -> None:
    for path in modules():
        for name in imports(path):
            owners = OWNERS.get(name.split(".")[0])
            assert owners is None or package_of(path) in owners, f"{path.name} imports {name}"


# All that a start of the supervisor imports, what it imports late included.
START = """
import sys
before = set(sys.modules)
import pyudev
import scx_gamer.cli.commands, scx_gamer.cli.daemon, scx_gamer.service.supervisor
import scx_gamer.input.monitor, scx_gamer.service.bus_signals
from scx_gamer.dbus import wire
wire.library()
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
# asyncio, with what it imports, takes as long as all of our own modules.
SLOW = {"asyncio", "concurrent", "decimal", "email", "http", "multiprocessing", "ssl", "unittest"}


def test_a_start_imports_no_more_than_it_needs() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=True, cwd=TREE
    ).stdout.split()
    ours = set(loaded) - sys.stdlib_module_names
    assert ours == {"scx_gamer", "pyudev", "dbus_next"}
    assert not SLOW & set(loaded)


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
        cwd=TREE,
    ).stdout.splitlines()
    return [TREE / n for n in names if (TREE / n).is_file()]


# REUSE-IgnoreStart
# Its helpers ask for a GPL-compatible licence.
FOR_THE_KERNEL = b"SPDX-License-Identifier: GPL-2.0-only"
ELSEWHERE = b"SPDX-License-Identifier: GPL-2.0-or-later"
# REUSE-IgnoreEnd


def license_of(path: Path) -> bytes:
    """Return the line that the first lines of a file must hold."""
    name = str(path.relative_to(TREE))
    bpf = name.startswith(("bpf/", "scx_gamer/trace/headers/")) or name.endswith(
        (".bpf.c", ".bpf.h")
    )
    probe = name.startswith("scx_gamer/trace/") and path.suffix == ".c"
    return FOR_THE_KERNEL if bpf or probe else ELSEWHERE


def test_every_source_file_names_its_license() -> None:
    wanted = {".py", ".c", ".h", ".toml", ".sh", ".service", ".mk", ".yml"}
    missing = [
        str(p.relative_to(TREE))
        for p in tracked()
        if (p.suffix in wanted or p.read_bytes()[:2] == b"#!")
        and license_of(p) not in p.read_bytes()[:300]
    ]
    assert not missing


def test_no_sources_of_constants_twice() -> None:
    """abi.h is the only place of a shared struct: no Python file spells one of its constants as a number."""
    for path in modules():
        text = path.read_text()
        assert "SCXG_NR_CLASSES =" not in text and "ABI_VERSION = " not in text, path

# SPDX-License-Identifier: GPL-2.0-or-later
"""An archive of the files that Python opens in a guest, which unpacks it into memory as it boots.

A file of the host costs a guest without KVM five requests, each of which stops the only CPU that emulates until another
thread of QEMU has answered: 1 to 2 ms, 60 ms for a dynamic program that does nothing, and half of a start of Python. An
archive is one file.

It is also a plugin of pytest: the host's collection of tests, which compiles them, imports what the guest will.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path

TREE = Path(__file__).resolve().parents[3]
PYTHON = str(TREE / "build" / "venv" / "bin" / "python")
ARCHIVE = "warm.tar"
_LIST = "SCX_GAMER_WARM_LIST"
# Of pytest, here and in a guest: the tree is read-only there, and nothing has hypothesis draw anything.
PLUGINS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
# Below these the guest can lay files over the host's.
TOPS = (Path("/usr"), TREE / "scx_gamer", TREE / "tests", TREE / "build" / "venv")
# LLVM, of which a start of Python reads a few pages.
_MOST_BYTES = 16 << 20


def compile_tree() -> None:
    """Compile the tree's modules, where they are not: a guest sees the tree read-only, and each of its processes would
    compile each module that it imports anew."""
    _python("compileall", "-qq", "scx_gamer", "tests")


def compile_tests() -> list[str]:
    """Have pytest rewrite the tests' assertions, a third of its time in a guest, and return the names of the files that
    they and the program open; none where there is no pytest."""
    with tempfile.NamedTemporaryFile("r") as names:
        plugins = (*PLUGINS, "-p", __name__)
        _python("pytest", "-qq", *plugins, "--collect-only", "tests/vm", **{_LIST: names.name})
        return names.read().splitlines()


def _python(module: str, *words: str, **variables: str) -> None:
    """Run a module that writes bytecode. What is wrong with the tree, the guest's own import tells."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [PYTHON, "-m", module, *words], cwd=TREE, env={**environment, **variables}, check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def pack(names: Iterable[str], folder: Path) -> None:
    with tarfile.open(folder / ARCHIVE, "w") as archive:
        for name in names:
            with suppress(FileNotFoundError):  # a distribution may list what it no longer has
                archive.add(name, recursive=False)


def pytest_sessionfinish() -> None:
    """Write the names of the files that have been opened, and of those that the program would open."""
    import scx_gamer

    for module in pkgutil.walk_packages(scx_gamer.__path__, "scx_gamer."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):
                import_module(module.name)
    found = {*_modules(), *_libraries(), *_installed()}
    kept = (file for file in found if any(file.is_relative_to(top) for top in TOPS))
    Path(os.environ[_LIST]).write_text("".join(f"{file}\n" for file in sorted(kept)))


def _modules() -> Iterator[Path]:
    for module in list(sys.modules.values()):
        source = Path(getattr(module, "__file__", None) or "/nothing")
        if source.exists():
            yield source
            yield from source.parent.glob(f"__pycache__/{source.stem}.*.pyc")


def _libraries() -> Iterator[Path]:
    """The interpreter and the shared objects that it has mapped, under each of their names."""
    yield Path(sys.executable).resolve()
    for line in Path("/proc/self/maps").read_text().splitlines():
        library = Path(line.split(maxsplit=5)[-1])
        if ".so" in library.name and library.stat().st_size <= _MOST_BYTES:
            yield library
            links = library.parent.glob(f"{library.name.split('.so')[0]}.so*")
            yield from (link for link in links if link.is_symlink())


def _installed() -> Iterator[Path]:
    """Files of every distribution that the interpreter and pytest read, and all of those that the program needs, some
    of whose modules it imports late."""
    from tests.vm.installed import needed

    packages = Path(str(metadata.distribution("pytest").locate_file("")))
    yield from packages.glob("*.pth")
    yield from packages.parents[2].glob("*.cfg")
    yield from packages.glob("*.dist-info/*.txt")
    yield from packages.glob("*.dist-info/METADATA")
    for name in needed("scx-gamer"):
        for file in metadata.files(name) or ():
            yield Path(str(file.locate()))

# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels named in kernels.toml: resolve, fetch once, keep in the cache."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.vmlib.debs import FetchError, Suite, cache_dir, locked

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted. `cpus` limits the guest, 0 for no limit; `architecture` is set for a foreign one."""

    name: str
    version: str
    image: Path
    cpus: int
    append: tuple[str, ...]
    architecture: str = ""

    @property
    def foreign(self) -> bool:
        return bool(self.architecture)


def table() -> dict[str, Any]:
    return tomllib.loads((HERE / "kernels.toml").read_text())


def names() -> list[str]:
    return list(table()["kernel"])


def foreign() -> list[str]:
    """Return the kernels of other architectures: folders run there only by name."""
    return list(table()["foreign"])


def newest(architecture: str = "") -> str:
    """Return the name of the newest kernel of an architecture, this machine's if it is empty."""
    entries = table()["foreign"].items()
    return next((name for name, e in entries if e["architecture"] == architecture), "newest")


def find(name: str) -> Kernel:
    """A kernel by its name, or by `oldest` and `newest`. Raises FetchError."""
    data = table()
    name = data.get(name, name) if isinstance(data.get(name, name), str) else name
    entry = (data["kernel"] | data["foreign"]).get(name)
    if entry is None:
        known = ", ".join([*data["kernel"], *data["foreign"]])
        raise FetchError(f"no kernel {name!r}; kernels.toml has {known}")
    with locked(f"kernel-{name}"):  # building one kernel keeps nobody from another
        version, image = (
            _built(name, entry["built"]) if "built" in entry else _packaged(name, entry)
        )
    append = tuple(entry.get("append", ()))
    return Kernel(name, version, image, entry.get("cpus", 0), append, entry.get("architecture", ""))


def images() -> list[str]:
    """Kernels that are looked at and not booted."""
    return list(table().get("image", {}))


def image(name: str) -> Path:
    """The compressed image of a kernel of `images()`, fetched once. Raises FetchError."""
    entry = table()["image"].get(name)
    if entry is None:
        raise FetchError(f"no image {name!r}; kernels.toml has {', '.join(images())}")
    with locked("kernels"):
        kept = cache_dir() / "images" / name
        for path in sorted(kept.glob("vmlinuz-*")):
            return path
        suite = Suite(entry["suite"])
        suite.refresh()
        pattern = rf"linux-(?:image|binary)-({entry['series']}[\d.]*(?:\+deb\d+)?-amd64)"
        found = suite.names(pattern)
        versions = sorted({re.fullmatch(pattern, n)[1] for n in found}, key=_order)  # type: ignore[index]
        if not versions:
            raise FetchError(f"image {name}: suite {entry['suite']} has no package like {pattern}")
        packages = [
            p for kind in ("image", "binary") if suite.has(p := f"linux-{kind}-{versions[-1]}")
        ]
        unpacked = cache_dir() / f"unpacked-image-{name}"
        shutil.rmtree(unpacked, ignore_errors=True)
        suite.unpack(packages, unpacked)
        source = next(
            iter([*unpacked.glob("boot/vmlinuz-*"), *unpacked.glob("usr/lib/modules/*/vmlinuz")]),
            None,
        )
        if source is None:
            raise FetchError(f"image {name}: {' '.join(packages)} hold no kernel image")
        kept.mkdir(parents=True, exist_ok=True)
        target = kept / f"vmlinuz-{versions[-1]}"
        shutil.copy2(source, target)
        shutil.rmtree(unpacked)
        return target


def _built(name: str, pattern: str) -> tuple[str, Path]:
    folders = [
        cache_dir() / "kernels",
        *(Path(p) for p in os.environ.get("SCX_GAMER_SEED", "").split(":") if p),
    ]
    for folder in folders:
        for image in sorted(folder.glob(pattern)):
            return image.name.removeprefix("bzImage-"), image
    print(
        f"kernel {name} is in no cache: building it, this takes about ten minutes", file=sys.stderr
    )
    command = [str(HERE / "build-kernel"), str(cache_dir() / "kernels")]
    # a group of its own: whatever ends this process has to end make's compilers too
    with subprocess.Popen(command, stdout=sys.stderr, process_group=0) as build:
        try:
            status = build.wait()
        except BaseException:
            os.killpg(build.pid, signal.SIGTERM)
            raise
    if status:
        raise FetchError(f"kernel {name}: {command[0]} failed with exit status {status}")
    for image in sorted((cache_dir() / "kernels").glob(pattern)):
        return image.name.removeprefix("bzImage-"), image
    raise FetchError(f"kernel {name}: the build left no {pattern}")


def _packaged(name: str, entry: dict[str, Any]) -> tuple[str, Path]:
    kept = cache_dir() / "kernels" / name
    for path in sorted(kept.glob("*/vmlinuz")):
        _offer_modules(path.parent)
        return path.parent.name, path
    architecture = entry.get("architecture", "")
    suite = Suite(entry["suite"], architecture)
    suite.refresh()
    pattern = (
        rf"linux-(?:image|binary)-({entry['series']}[\d.]*(?:\+deb\d+)?-{architecture or 'amd64'})"
    )
    found = suite.names(f"linux-{pattern.removeprefix('linux-')}")
    versions = sorted({re.fullmatch(pattern, n)[1] for n in found}, key=_order)  # type: ignore[index]
    if not versions:
        raise FetchError(f"kernel {name}: suite {entry['suite']} has no package like {pattern}")
    version = versions[-1]
    packages = [
        p for kind in ("image", "binary", "modules") if suite.has(p := f"linux-{kind}-{version}")
    ]
    unpacked = cache_dir() / f"unpacked-{name}"
    shutil.rmtree(unpacked, ignore_errors=True)
    suite.unpack(packages, unpacked)
    modules = next(
        iter([*unpacked.glob("usr/lib/modules/*"), *unpacked.glob("lib/modules/*")]), None
    )
    image = next(
        iter([*unpacked.glob("boot/vmlinuz-*"), *unpacked.glob("usr/lib/modules/*/vmlinuz")]), None
    )
    if modules is None or image is None:
        raise FetchError(f"kernel {name}: {' '.join(packages)} hold no kernel image")
    if image.parent != modules:
        image.rename(modules / "vmlinuz")
    kept.mkdir(parents=True, exist_ok=True)
    modules.rename(kept / version)
    shutil.rmtree(unpacked)
    _offer_modules(kept / version)
    return version, kept / version / "vmlinuz"


def _order(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)]


def _offer_modules(folder: Path) -> None:
    """The guest shares our root: its modules must be where it looks for them."""
    link = Path("/lib/modules") / folder.name
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    if not (folder / "modules.dep").exists():
        subprocess.run(["depmod", folder.name], check=True, capture_output=True)


def main(arguments: list[str]) -> int:
    """`python -m tests.vm.vmlib.kernels NAME …`: have these kernels in the cache, and print their images."""
    try:
        for name in arguments:
            print(find(name).image)
    except FetchError as err:
        print(f"error: {err}", file=sys.stderr)
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

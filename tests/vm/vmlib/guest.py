# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a command in a guest: boot, run, pass output and status through, power off."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.vm.vmlib import foreign, kvm, warm
from tests.vm.vmlib.kernels import Kernel
from tests.vm.vmlib.machines import Machine

TREE = Path(__file__).resolve().parents[3]
TIMEOUT_STATUS = 124
INIT_SYSTEMD = TREE / "tests" / "vm" / "vmlib" / "init-systemd"
INIT_LOCKSTEP = TREE / "tests" / "vm" / "vmlib" / "init-lockstep"
# vng's own --systemd starts the machine's services before it makes files writable. So the guest is vng's usual one
# with another first process; only the command of QEMU is the place to say so. The guest's stdin has an end that it
# would hear of at a time of the host's choice.
QEMU = """#!/bin/bash
set -- "${{@/ init=/ init={init} vng_init=}}"
exec {qemu} "${{@/#stdio,id=stdin*/null,id=stdin}}"
"""
NO_BOOT_STATUS = 125
# Turn of one virtual CPU. A lock or an interrupt passes to another at the end of a turn only: with 10,000 that was most
# of what a wake-up took.
LOCKSTEP_STRETCH_NS = 1000
# For a reader who waits, and figures that need not be those of metal: a second of virtual time takes less of his.
BRIEF_STRETCH_NS = 5000
# A clock that begins at the same time in each boot, and no CD drive, which answers when the host gets to it.
LOCKSTEP_OPTIONS = "-nodefaults -icount shift=0,sleep=off -rtc base=2026-01-01T00:00:00,clock=vm"
# No hypervisor, as far as the kernel knows: its locks let in who waits longest, as on metal. Nothing by chance.
LOCKSTEP_CPU = "-cpu max,-hypervisor,-rdrand,-rdseed"

# A card whose driver has vblanks in 7.2, by a timer at the rate of the screen's mode. The kernel draws no console on
# it, which would take an emulated CPU most of a boot.
DISPLAY_OPTIONS = "-device virtio-gpu-pci,xres=640,yres=480"

# vng's own and a cache: nobody changes the files of a running guest, and each look-up that goes to the host costs an
# emulated CPU far more than a metal one. A start of the supervisor takes a third of the time.
ROOT_FLAGS = "version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose"

# Modules that udev would load for the emulated machine's parts, two thirds of an emulated boot, and nothing uses.
UNUSED_MODULES = (
    "aesni_intel", "ahci", "i2c_i801", "i6300esb", "iTCO_wdt", "kvm_amd", "lpc_ich", "pcspkr",
    "powernow_k8", "qemu_fw_cfg", "sg", "sr_mod",
)  # fmt: skip

# What makes an emulated CPU sooner done: it speculates nothing, and a fifth level of page tables is one more look-up at
# each of its TLB misses.
QUICK_KERNEL = (
    "mitigations=off", "no5lvl", f"rootflags={ROOT_FLAGS}", f"modprobe.blacklist={','.join(UNUSED_MODULES)}",
)  # fmt: skip

SETUP = """#!/bin/bash
echo started > {scratch}/started
export PATH={venv}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games
export HOME=/root SCX_GAMER_SCRATCH={scratch} SCX_GAMER_IN_VM=1 {more}
{warm}export PYTEST_ADDOPTS="{plugins}"
export SCX_GAMER_KERNEL_DIR={kernel_dir}
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up 2>/dev/null
{hooks}mkdir -p /run/scx-gamer /var/lib/scx-gamer /run/temporary
export TMPDIR=/run/temporary  # /tmp shows what this machine's other programs put there
{machine}cd {tree}
{command} >{scratch}/stdout 2>{scratch}/stderr </dev/null
echo $? > {scratch}/status.new
dmesg > {scratch}/dmesg 2>/dev/null
mv {scratch}/status.new {scratch}/status
sync
"""


# Lays the files of the archive over those of the machine.
WARM = """\
mkdir -p /run/warm && mount -t tmpfs warm /run/warm && tar -xf {scratch}/{archive} -C /run/warm
for top in {tops}; do
	mkdir -p "/run/warm$top" "/run/warm/.work$top"
	mount -t overlay -o "lowerdir=$top,upperdir=/run/warm$top,workdir=/run/warm/.work$top" warm "$top"
done
"""

# Hides what this machine has each Python do as it starts: nothing here needs it, and it can be most of such a start.
NO_HOOKS = """\
for hook in $(grep -ls ^import /usr/lib/python3/dist-packages/*.pth /usr/local/lib/python3*/dist-packages/*.pth); do
	mount --bind /dev/null "$hook"
done
"""


@dataclass(frozen=True)
class Guest:
    """Parameters of a boot: `memory` as QEMU takes it, `timeout_s` for everything from boot to power-off."""

    kernel: Kernel
    cpus: int
    memory: str
    systemd: bool
    timeout_s: float
    lockstep: Path | None = None  # launcher of the QEMU that keeps virtual time in lockstep
    root: Path | None = None  # another root file system, with systemd only
    machine: Machine | None = None  # with lockstep only; `cpus` are its CPUs
    brief: bool = False  # with lockstep: sooner done, less exact
    display: bool = False  # a screen that nobody sees; not with lockstep

    def run(self, command: list[str], scratch: Path | None = None) -> int:
        """The command's exit status; 124 when time ran out, 125 when no guest came up."""
        folder = scratch or Path(tempfile.mkdtemp(prefix="vm-", dir=_scratch_base()))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for attempt in (1, 2):
                status = self._boot(command, folder.resolve())
                if (folder / "started").exists() or status == TIMEOUT_STATUS or attempt == 2:
                    return status
                print(
                    "the guest died before the command started: booting once more", file=sys.stderr
                )
            return NO_BOOT_STATUS
        finally:
            if scratch is None:
                shutil.rmtree(folder, ignore_errors=True)

    def _boot(self, command: list[str], scratch: Path) -> int:
        for name in ("started", "status", "stdout", "stderr"):
            (scratch / name).unlink(missing_ok=True)
        script = scratch / "run.sh"
        text = SETUP.format(
            tree=TREE,
            scratch=scratch,
            venv="" if self.kernel.foreign else f"{TREE}/build/venv/bin:",
            more=self._environment(),
            kernel_dir=shlex.quote(str(self.kernel.image.resolve().parent)),
            warm=self._warm(scratch),
            plugins=shlex.join(warm.PLUGINS),
            hooks=NO_HOOKS if self._quick() else "",
            machine=f"{self.machine.setup()}\n" if self.machine and self.machine.setup() else "",
            command=shlex.join(command),
        )
        script.write_text(text)
        script.chmod(0o755)
        if self.kernel.foreign:
            (scratch / "qemu").write_text(self._foreign_qemu(scratch))
            (scratch / "qemu").chmod(0o755)
        elif self.systemd or self.lockstep:
            init = INIT_SYSTEMD if self.systemd else INIT_LOCKSTEP
            qemu = self.lockstep or "qemu-system-x86_64"
            (scratch / "qemu").write_text(QEMU.format(init=init, qemu=qemu))
            (scratch / "qemu").chmod(0o755)
        with open(scratch / "console", "wb") as console:
            process = subprocess.Popen(
                self._vng(script, scratch),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={
                    **os.environ,
                    "PATH": f"{TREE}/build/venv/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
                    "QEMU_LOCKSTEP": str(BRIEF_STRETCH_NS if self.brief else LOCKSTEP_STRETCH_NS),
                    **({"QEMU_LOCKSTEP_MACHINE": self.machine.rates()} if self.machine else {}),
                },
            )
            try:
                late = self._follow(process, scratch)
            finally:
                _end(process)
        if late:
            print(
                f"the guest took longer than {self.timeout_s:.0f} s and was ended", file=sys.stderr
            )
            return TIMEOUT_STATUS
        if (scratch / "status").exists():
            return int((scratch / "status").read_text() or NO_BOOT_STATUS)
        tail = (scratch / "console").read_text(errors="replace").splitlines()[-15:]
        print(
            "\n".join(["the guest ended without a result; its console ends with:", *tail]),
            file=sys.stderr,
        )
        return NO_BOOT_STATUS if not (scratch / "started").exists() else 1

    def _warm(self, scratch: Path) -> str:
        """Compile the tree, and return commands that put into the guest's memory what Python opens, where that saves
        time."""
        if self.kernel.foreign:
            return ""
        warm.compile_tree()
        if self.brief:  # no tests
            return ""
        names = warm.compile_tests()
        if not self._quick() or self.lockstep or self.root is not None:
            return ""
        warm.pack(names, scratch)
        if self.systemd:  # whose first process unpacks it
            return ""
        tops = shlex.join(map(str, warm.TOPS))
        return WARM.format(scratch=scratch, archive=warm.ARCHIVE, tops=tops)

    def _environment(self) -> str:
        """Return the variables of the command that depend on the guest, as words of `export`."""
        if self.kernel.foreign:  # its interpreter finds no compiled module in the tree
            return "PYTHONPYCACHEPREFIX=/run/pycache SCX_GAMER_FOREIGN=1"
        return "PYTHONDONTWRITEBYTECODE=1" + (" SCX_GAMER_LOCKSTEP=1" if self.lockstep else "")

    def _quick(self) -> bool:
        """Whether it is emulated, and how long it takes matters more than whether it is like metal."""
        return self.brief if self.lockstep else not kvm.works(self.kernel.image)

    def _vng(self, script: Path, scratch: Path) -> list[str]:
        command = [
            "vng",
            "-r",
            str(self.kernel.image),
            "--cpus",
            self.machine.smp() if self.machine else str(self.cpus),
            "--memory",
            self.memory,
        ]
        if self.kernel.foreign:
            return self._foreign_vng(command, script, scratch)
        command += ["--force-9p", f"--rwdir={scratch}"]
        if self.lockstep:
            options = f"{LOCKSTEP_OPTIONS} {LOCKSTEP_CPU}"
            if self.machine:
                options = self.machine.qemu_options(options)
                for text in self.machine.kernel_options():
                    command += ["-a", text]
            command += ["--disable-kvm", f"--qemu-opts={options}", "-a", "tsc=reliable"]
        elif self._quick():
            # One TCG thread: with several, a kernel that patches its own code crashes.
            command += ["--disable-kvm", "--qemu-opts=-accel tcg,thread=single"]
        if self.display:
            command += [f"--qemu-opts={DISPLAY_OPTIONS}", "-a", "drm_kms_helper.fbdev_emulation=0"]
        for text in QUICK_KERNEL if self._quick() else ():
            command += ["-a", text]
        for text in self.kernel.append:
            command += ["-a", text]
        if self.root is not None:
            shared = (TREE, "/lib/modules", self.kernel.image.resolve().parents[1])
            command += [
                "-a",
                f"scxg.root={self.root}",
                "-a",
                f"scxg.share={':'.join(map(str, shared))}",
            ]
        if self.systemd or self.lockstep:
            command += ["--qemu", str(scratch / "qemu")]
        if self.systemd:
            command += ["--verbose"]  # else no console at all
        return [*command, "-e", str(script)]

    def _foreign_qemu(self, scratch: Path) -> str:
        assert self.root is not None
        return foreign.qemu(
            self.cpus, self.memory, self.root, scratch, self.lockstep, LOCKSTEP_OPTIONS
        )

    def _foreign_vng(self, command: list[str], script: Path, scratch: Path) -> list[str]:
        assert self.root is not None
        command += ["--arch", foreign.ARCHITECTURE, "--root", str(self.root), "--force-9p"]
        command += ["--disable-kvm", "--verbose", f"--rwdir={str(scratch)[1:]}={scratch}"]
        command += ["--qemu", str(scratch / "qemu"), "-e", str(script)]
        return foreign.with_mounts(command, self.root, self.kernel.image)

    def _follow(self, process: subprocess.Popen[bytes], scratch: Path) -> bool:
        """Pass output on as it comes. True when time ran out."""
        deadline = time.monotonic() + self.timeout_s
        files: dict[str, BinaryIO] = {}
        sinks = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
        try:
            while True:
                ended = process.poll() is not None
                for name, sink in sinks.items():
                    if name not in files and (scratch / name).exists():
                        files[name] = open(scratch / name, "rb")  # noqa: SIM115 - closed below
                    if name in files and (data := files[name].read()):
                        sink.write(data)
                        sink.flush()
                if ended:
                    return False
                if (scratch / "status").exists() and self._powered_off(process):
                    continue
                if time.monotonic() > deadline:
                    return True
                time.sleep(0.1)
        finally:
            for file in files.values():
                file.close()

    @staticmethod
    def _powered_off(process: subprocess.Popen[bytes]) -> bool:
        """Wait for the power-off a while; a guest that hangs there has done its work all the same."""
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            _end(process)
        return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the guest that we started and everything in its session, also what outlives the first process of it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 5
        try:
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


def _scratch_base() -> Path:
    base = TREE / "build" / "vm"
    base.mkdir(parents=True, exist_ok=True)
    return base

# SPDX-License-Identifier: GPL-2.0-or-later
"""setup: all that is left to do after the installation of the package."""

from __future__ import annotations

import os
import pwd
import subprocess
from errno import EPERM
from pathlib import Path

from scx_gamer.system.child import environment
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import FAILED

UNIT, AGENT = "scx-gamer.service", "scx-gamer-agent.service"
BOOTED = Path("/run/systemd/system")  # as sd_booted(3)
# Who started us by sudo, pkexec or doas: a uid, or a name.
_CALLERS = ("SUDO_UID", "PKEXEC_UID", "DOAS_USER")
_TIMEOUT_S = 150.0  # systemd's own patience with a start is 90


class SetupError(ScxGamerError):
    """A step that failed; those after it were not tried."""

    separator = "; "


class Manager:
    """systemctl, of the system, or of the user's own manager if `user` is given."""

    def __init__(self, user: pwd.struct_passwd | None = None) -> None:
        self._user = user

    def has_runtime(self) -> bool:
        """Return True if the manager can be reached: a user has one while logged in."""
        return self._user is None or Path(f"/run/user/{self._user.pw_uid}/systemd").is_dir()

    def switch_on(self, unit: str, dry_run: bool) -> str:
        """Enable and start a unit unless it is; return what was done in words. Raises SetupError."""
        before = self._state(unit)
        if before.get("LoadState") != "loaded":
            raise SetupError(f"{unit} is {before.get('LoadState', 'unknown')}", hint=_UNLOADED)
        enabled, active = before["UnitFileState"] == "enabled", before["ActiveState"] == "active"
        if enabled and active:
            return "is enabled and runs, as before"
        if dry_run:
            return f"would be {'started' if enabled else 'enabled and started'}"
        self._systemctl("enable", "--now", "--quiet", unit)
        state = self._state(unit)["ActiveState"]
        if state != "active":
            flag = "--user " if self._user is not None else ""
            raise SetupError(f"{unit} is {state}", hint=f"see journalctl {flag}-u {unit}")
        return " and ".join(["enabled"] * (not enabled) + ["started"] * (not active))

    def _state(self, unit: str) -> dict[str, str]:
        names = (f"-p{name}" for name in ("LoadState", "UnitFileState", "ActiveState"))
        text = self._systemctl("show", *names, unit)
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def _systemctl(self, *words: str) -> str:
        env = environment()
        command = ["systemctl", *words]
        if self._user is not None:
            command.insert(1, "--user")
            env |= {"HOME": self._user.pw_dir, "XDG_RUNTIME_DIR": f"/run/user/{self._user.pw_uid}"}
        who = self._user if os.geteuid() == 0 else None
        try:
            done = subprocess.run(
                command, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=_TIMEOUT_S, check=False,
                user=who.pw_uid if who else None, group=who.pw_gid if who else None,
                extra_groups=os.getgrouplist(who.pw_name, who.pw_gid) if who else None,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as err:
            raise SetupError(f"systemctl {words[0]}: {err}") from err
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise SetupError(f"systemctl {words[0]}: {said[0] if said else done.returncode}")
        return done.stdout


_UNLOADED = "install the package, or unmask the unit"


def setup(dry_run: bool) -> int:
    """Check the machine, then enable and start the service and the caller's agent."""
    from scx_gamer import doctor
    from scx_gamer.doctor.model import FAIL, WARN
    from scx_gamer.system.text import printable

    if os.geteuid() != 0:
        raise SetupError("setup is for root", errno=EPERM, hint="run: sudo scx-gamer setup")
    if not BOOTED.is_dir():
        raise SetupError("systemd does not run here", hint="have your init start: scx-gamer run")
    report = doctor.examine()
    print(f"doctor: {report.summary}")
    left = [
        f"{finding.check}: {printable(finding.to_do or finding.what, 400)}"
        for finding in report.findings
        if finding.level in (FAIL, WARN)
    ]
    if any(finding.level == FAIL for finding in report.findings):
        _print_left(left)
        raise SetupError(
            "nothing was switched on", hint="mend that, then run setup again",
            code=report.exit_code or FAILED,
        )  # fmt: skip
    print(f"service: {UNIT} {Manager().switch_on(UNIT, dry_run)}")
    code = 0
    user = caller()
    by_hand = f"agent: as the user who plays, run: systemctl --user enable --now {AGENT}"
    if user is None or not (manager := Manager(user)).has_runtime():
        left.append(by_hand)
    else:
        try:
            print(f"agent: {AGENT} of {user.pw_name} {manager.switch_on(AGENT, dry_run)}")
        except SetupError as err:
            left.append(f"{by_hand} ({printable(str(err), 200)})")
            code = FAILED
    _print_left(left)
    return code


def caller() -> pwd.struct_passwd | None:
    """Return the ordinary user who became root for this command; None if it is not known."""
    said = next((found for name in _CALLERS if (found := os.environ.get(name))), "")
    try:
        if said.isascii() and said.isdecimal():
            user = pwd.getpwuid(int(said)) if len(said) <= 10 else None
        else:
            user = pwd.getpwnam(said) if said else None
    except (KeyError, OverflowError):
        return None
    return user if user is not None and user.pw_uid != 0 else None


def _print_left(left: list[str]) -> None:
    for line in left:
        print(f"left: {line}")
    if not left:
        print("nothing is left to do: start a game, and see scx-gamer status")

# SPDX-License-Identifier: GPL-2.0-only
"""What a check answers, and the exit status that all of them come to."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from scx_gamer.system.exit_codes import BAD_CONFIG, NO_PERMISSION, UNSUPPORTED

OK, INFO, WARN, FAIL = "ok", "info", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """`level`: ok, info, warn, fail. `code`: the exit status a failure stands for, else 0."""

    level: str
    check: str
    what: str
    to_do: str = ""
    code: int = 0


@dataclass(frozen=True)
class Report:
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 when nothing failed; else the gravest: no kernel, no permission, configuration."""
        codes = {finding.code for finding in self.findings if finding.level == FAIL}
        return next((c for c in (UNSUPPORTED, NO_PERMISSION, BAD_CONFIG) if c in codes), 0)

    def as_dict(self) -> dict[str, object]:
        """The schema of doctor --json."""
        return {"schema": 1, "exit": self.exit_code, "findings": [asdict(f) for f in self.findings]}

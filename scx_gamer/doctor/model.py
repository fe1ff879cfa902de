# SPDX-License-Identifier: GPL-2.0-or-later
"""The result of a check, and the exit code of all results."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from scx_gamer.system.exit_codes import BAD_CONFIG, NO_PERMISSION, UNSUPPORTED

OK, INFO, WARN, FAIL = "ok", "info", "warn", "fail"
SEVERITY = (FAIL, WARN, INFO, OK)  # the order of a report


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
    """All findings, the gravest first; checks of one level in the order in which they were made."""

    findings: tuple[Finding, ...]

    def __post_init__(self) -> None:
        ordered = sorted(self.findings, key=lambda finding: SEVERITY.index(finding.level))
        object.__setattr__(self, "findings", tuple(ordered))

    @property
    def summary(self) -> str:
        """One sentence: whether scx-gamer works here, and if not, why."""
        count = Counter(finding.level for finding in self.findings)
        if count[FAIL]:
            first = next(finding for finding in self.findings if finding.level == FAIL)
            more = f", and {count[FAIL] - 1} more" if count[FAIL] > 1 else ""
            return f"scx-gamer does not work here: {first.check}{more}; {count[OK]} checks are fine"
        if count[WARN]:
            return f"scx-gamer works here, {count[WARN]} part(s) of it not fully; {count[OK]} checks are fine"
        return f"scx-gamer works here; {count[OK]} checks are fine"

    @property
    def exit_code(self) -> int:
        """0 when nothing failed; else the gravest: no kernel, no permission, configuration."""
        codes = {finding.code for finding in self.findings if finding.level == FAIL}
        return next((c for c in (UNSUPPORTED, NO_PERMISSION, BAD_CONFIG) if c in codes), 0)

    def as_dict(self) -> dict[str, object]:
        """The schema of doctor --json."""
        return {
            "schema": 1,
            "exit": self.exit_code,
            "summary": self.summary,
            "findings": [asdict(f) for f in self.findings],
        }

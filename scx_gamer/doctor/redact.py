# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes out of a text what tells who uses the machine and what they run."""

from __future__ import annotations

import ipaddress
import os
import platform
import pwd
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

FIRST_USER = 1000
NOBODY = 65534

_HOMES = re.compile(r"(/(?:var/)?home/)[^/\s\"':,;\\]+")
_UUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b[0-9a-f]{32}\b", re.I)
_MAC = re.compile(r"\b(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}\b", re.I)
# What may be an address: `ipaddress` decides.
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*(?:%[\w.-]+)?", re.I)
# What our own lines say of games, devices and other programs: the words to hide, and the kind of their stand-in.
_LEARNT = (
    ("game", re.compile(r"\bgame (.+) \(pid \d+\)(?:: rule| ended)")),
    ("game", re.compile(r"\b(?:exe|cmdline|app_?id) (.+?) of the game that runs")),
    ("device", re.compile(r"\binput\d+ (.+): (?:[^:,]+, \w+ lane|gone|E[A-Z]+)$", re.M)),
    ("target", re.compile(r"\blimited by the user: (.+)$", re.M)),
    ("target", re.compile(r"\bthe time of the limit of (.+) is over$", re.M)),
    (
        "target",
        re.compile(r"netlimit\S*: (.+?)(?: is (?:not|no longer) limited\b| is gone$|: )", re.M),
    ),
)
_EVIDENCE = re.compile(r"(\bgame .+ \(pid \d+\): rule [\w-]+): .*")
# name[pid] in what the kernel says of tasks: alone in a sentence, after curr=, or after a state letter
_TASK = re.compile(
    r"(?P<lead>curr=|^ [ *][A-Za-z] |^|\(|(?:task|by|of) )(?P<name>[^\n\[\]()]{1,15})\[(?P<pid>\d+)\]",
    re.M,
)
_KERNEL = re.compile(
    r"(?:kworker|ksoftirqd|migration|swapper|rcu|kthreadd|kswapd|kcompactd|irq/|cpuhp|khugepaged"
    r"|scx_|scx-gamer|systemd|jbd2|watchdogd|idle_inject)"
)  # fmt: skip


@dataclass
class Redactor:
    """One per archive: the same name becomes the same stand-in everywhere in it."""

    names: dict[str, str] = field(default_factory=dict)
    _tasks: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_this_machine(cls) -> Redactor:
        """Knows the users and the name of this machine."""
        found = cls()
        for user in _users():
            found.names.setdefault(user, "USER")
        host = platform.node()
        for name in {host, host.partition(".")[0]} - {"", "localhost"}:
            found.names.setdefault(name, "HOST")
        return found

    def hide(self, words: Iterable[str], kind: str) -> None:
        """Give each word a stand-in of its own, such as game-1."""
        for word in words:
            if word and word not in self.names:
                number = sum(v.startswith(f"{kind}-") for v in self.names.values()) + 1
                self.names[word] = f"{kind}-{number}"

    def learn(self, text: str) -> str:
        """Hide from here on every name that our log lines or a status told; the text without evidence of games."""
        for kind, pattern in _LEARNT:
            self.hide((word.strip() for word in pattern.findall(text)), kind)
        return _EVIDENCE.sub(r"\1", text)

    def __call__(self, text: str) -> str:
        text = _HOMES.sub(r"\1USER", text)
        text = _UUID.sub("ID", text)
        text = _MAC.sub("ADDRESS", text)
        text = _IPV6.sub(_address, text)
        text = _IPV4.sub(_address, text)
        for name in sorted(self.names, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", self.names[name], text)
        return text

    def tasks(self, text: str) -> str:
        """Names of processes too: for what the kernel wrote about them. Kernel threads keep theirs."""
        return _TASK.sub(self._task, text)

    def _task(self, match: re.Match[str]) -> str:
        name = match["name"]
        if not _KERNEL.match(name):
            name = self._tasks.setdefault(name, f"task-{len(self._tasks) + 1}")
        return f"{match['lead']}{name}[{match['pid']}]"


def _address(match: re.Match[str]) -> str:
    """Return a stand-in for a network address; loopback, the unspecified address and other text stay."""
    found = match[0]
    bare = found.rstrip(".:") if not found.endswith("::") else found
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return found
    if address.is_loopback or address.is_unspecified:
        return found
    return "ADDRESS" + found[len(bare) :]


def _users() -> Iterator[str]:
    """Yield the accounts from uid 1000 on, the words of their full names, and the caller behind sudo."""
    for entry in pwd.getpwall():
        if FIRST_USER <= entry.pw_uid < NOBODY:
            yield entry.pw_name
            full = entry.pw_gecos.split(",")[0]
            yield from (word for word in (full, *full.split()) if len(word) > 2)
    for variable in ("SUDO_USER", "LOGNAME", "USER"):
        name = os.environ.get(variable, "")
        if name not in ("", "root"):
            yield name

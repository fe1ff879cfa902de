# SPDX-License-Identifier: GPL-2.0-or-later
"""Rates, times and targets of `[network]` and of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scx_gamer.config import network
from scx_gamer.config.network import HIGHEST_RATE, Limit, Target, UnitError, settings_of
from scx_gamer.config.settings import ConfigError, load

TOP = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("8 Mbit/s", 1_000_000),
        ("8Mbit", 1_000_000),
        ("8M", 1_000_000),
        ("8000000", 1_000_000),
        ("1 MB/s", 1_000_000),
        ("16kB/s", 16_000),
        ("128 kbit/s", 16_000),
        ("128 Kbps", 16_000),
        ("1.5 Mb/s", 187_500),
        ("1 MiB/s", 1_048_576),
        ("32 KiB/s", 32_768),
        ("10 Gbit/s", 1_250_000_000),
        ("unlimited", 0),
        ("0", 0),
    ],
)
def test_rates(text: str, rate: int) -> None:
    assert network.parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "fast", "127 kbit/s", "15.9 kB/s", "10.1 Gbit/s", "-8M", "8 Tbit/s", "8 m", "1e6", "9" * 400,
     "8M\n8M", "\u0668M"],
)  # fmt: skip
def test_no_rates(text: str) -> None:
    with pytest.raises(UnitError) as caught:
        network.parse_rate(text)
    assert "Mbit/s" in str(caught.value) and "\n" not in str(caught.value)


# Rounded to three digits, the rates just below 1 Mbit/s and 1 Gbit/s reach the next prefix.
_AT_A_PREFIX = st.builds(
    lambda prefix, permille: round(prefix / 8 * permille / 1000),
    st.sampled_from([10**6, 10**9]),
    st.floats(998, 1002),
)


@given(st.integers(network.LOWEST_RATE, network.HIGHEST_RATE) | _AT_A_PREFIX)
@example(124_938)
def test_a_rate_that_is_shown_can_be_typed(rate: int) -> None:
    shown = network.format_rate(rate)
    again = network.parse_rate(shown)
    assert again == pytest.approx(rate, rel=0.005)
    assert network.format_rate(again) == shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("30 min", 1800), ("1.5h", 5400)]
)
def test_times(text: str, seconds: float) -> None:
    assert network.parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1s", "8d", "soon", "1w"])
def test_no_times(text: str) -> None:
    with pytest.raises(UnitError):
        network.parse_time(text)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("1234", Target("pid", "1234")),
        ("steam.service", Target("unit", "steam.service")),
        ("unit:app-*.scope", Target("unit", "app-*.scope")),
        ("rsync", Target("exe", "rsync")),
        ("exe:/usr/bin/rsync", Target("exe", "/usr/bin/rsync")),
        ("app:steam", Target("app", "steam")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert network.parse_cli_target(text) == target


@pytest.mark.parametrize("text", ["", "unit:", "pid:12", "app:" + "x" * 300, "what:ever"])
def test_no_targets(text: str) -> None:
    with pytest.raises(UnitError):
        network.parse_cli_target(text)


def test_shipped_settings_are_off() -> None:
    settings = settings_of(load().network)
    assert not settings.enabled and settings.targets == ()
    assert settings.limit == Limit(1_000_000, 500_000, "internet", "cgroup")
    assert "discord" in settings.protected


def test_the_page_has_the_keys_the_defaults_and_the_shapers_figures() -> None:
    page = " ".join((TOP / "docs/netlimit.md").read_text().split())
    rows = {
        name: default
        for names, default in re.findall(r"\| (`[a-z`, ]+`) \| ([^|]+) \|", page)
        for name in re.findall(r"\w+", names)
    }
    assert set(rows) == set(network.RULES)
    values = load().network
    assert rows["up"] == rows["down"] == f"`{values['down']}`, `{values['up']}`"
    for name in ("scope", "kind"):
        assert rows[name] == f"`{values[name]}`"
    for shown, rate in (("128 kbit/s", network.LOWEST_RATE), ("10 Gbit/s", HIGHEST_RATE)):
        assert f"`{shown}`" in page and network.parse_rate(shown) == rate
    shaper = (TOP / "bpf/include/shaper.h").read_text()
    figures = dict(re.findall(r"#define SCXG_NET_(\w+) \(?(\d+)", shaper))
    down, least, most = (figures[f"BURST_{n}_NS"] for n in ("DOWN", "UP_MIN", "UP_MAX"))
    assert f"The burst is {down} ms down, {least} to {most} ms up, at least eight packets" in page
    assert int(figures["BURST_BYTES"]) == 8 * 1500


def test_a_section_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[network]\nenabled = true\ndown = "2 MB/s"\ntargets = ["app:steam", "exe:rsync"]\n'
    )
    settings = settings_of(load(tmp_path).network)
    assert settings.enabled and settings.limit.down == 2_000_000
    assert [str(target) for target in settings.targets] == ["app:steam", "exe:rsync"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('down = "fast"', "8 Mbit/s"),
        ("down = 8", "8 Mbit/s"),
        ('targets = ["steam"]', "unit:PATTERN"),
        ('targets = "app:steam"', "list"),
        ('scope = "lan"', '"internet" or "all"'),
        ('kind = "process"', '"cgroup" or "task"'),
        ("enabled = 1", "true or false"),
        ("protected = [1]", "program names"),
        ("upp = 1", "did you mean network.up"),
    ],
)
def test_a_wrong_section_is_refused(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(f"[network]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert says in str(caught.value) and "config.toml:2" in str(caught.value)

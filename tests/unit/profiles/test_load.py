# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading of profiles: merging, masking, disabling, and one-line errors with place and remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scx_gamer.config.toml import ConfigError, parse
from scx_gamer.profiles import ProfileError, ProfileSet, check_set, load, of_documents
from tests.unit.profiles.support import LIMITS

GAME = """title = "Game"
[match]
appid = [1]
[tunables]
slice_us = 1000
bg_delay_ms = 10
[why]
"tunables.slice_us" = "short"
"tunables.bg_delay_ms" = "small"
"""


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    vendor, admin = tmp_path / "vendor", tmp_path / "etc"
    vendor.mkdir()
    admin.mkdir()
    (vendor / "game.toml").write_text(GAME)
    return vendor, admin


def loaded(two: tuple[Path, Path], before: ProfileSet | None = None) -> ProfileSet:
    return load(LIMITS, *two, before=before)


def one_error(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        of_documents("game", [parse(text.encode(), "game.toml")], LIMITS)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_vendors_profile_as_it_is(two: tuple[Path, Path]) -> None:
    profile = loaded(two).get("game")
    assert profile.tunables == {"slice_us": 1000, "bg_delay_ms": 10} and profile.vendor
    assert profile.where["tunables.bg_delay_ms"].endswith("vendor/game.toml:6")
    assert profile.why["tunables.slice_us"] == "short" and profile.match.appid == (1,)


def test_same_name_masks_the_whole(two: tuple[Path, Path]) -> None:
    (two[1] / "game.toml").write_text('title = "Mine"\n[tunables]\nslice_us = 5000\n')
    profile = loaded(two).get("game")
    assert profile.tunables == {"slice_us": 5000} and not profile.match and not profile.vendor


def test_drop_ins_override_single_keys_in_order(two: tuple[Path, Path]) -> None:
    folder = two[1] / "game.toml.d"
    folder.mkdir()
    (folder / "20-b.toml").write_text("[tunables]\nslice_us = 7000\n")
    (folder / "10-a.toml").write_text("[tunables]\nslice_us = 6000\nbg_delay_ms = 20\n")
    (folder / "30-c.toml.bak").write_text("rubbish")
    profile = loaded(two).get("game")
    assert profile.tunables == {"slice_us": 7000, "bg_delay_ms": 20}
    assert profile.match.appid == (1,) and not profile.vendor
    assert not profile.why  # the reasons were for other values
    assert profile.where["tunables.slice_us"].endswith("20-b.toml:2")


def test_a_link_to_null_disables(two: tuple[Path, Path]) -> None:
    os.symlink("/dev/null", two[1] / "game.toml")
    found = loaded(two)
    assert not found.profiles and not found.errors


def test_drop_ins_for_nothing_are_an_error(two: tuple[Path, Path]) -> None:
    (two[1] / "other.toml.d").mkdir()
    (two[1] / "other.toml.d/a.toml").write_text("[tunables]\nslice_us = 7000\n")
    found = loaded(two)
    assert list(found.profiles) == ["game"] and "other.toml, which does not exist" in str(
        found.errors[0]
    )


def test_a_wrong_one_costs_itself_alone(two: tuple[Path, Path]) -> None:
    (two[1] / "bad.toml").write_text("[tunables]\nslice_us = 1\n")
    found = loaded(two)
    assert list(found.profiles) == ["game"]
    assert str(found.errors[0]).endswith(
        "bad.toml:2: tunables.slice_us is 1; use a whole number from 500 to 20000"
    )
    with pytest.raises(ProfileError, match="slice_us is 1"):
        found.get("bad")


def test_what_became_wrong_stays_what_it_was(two: tuple[Path, Path]) -> None:
    before = loaded(two)
    (two[0] / "game.toml").write_text("[tunables]\nslice_us = \n")
    after = loaded(two, before)
    assert after.get("game") == before.get("game") and len(after.errors) == 1
    (two[0] / "game.toml").unlink()
    assert not loaded(two, before).profiles  # one that was removed is gone


def test_names_of_files(two: tuple[Path, Path]) -> None:
    (two[1] / "My Game.toml").write_text("")
    assert "is not a valid profile name" in str(loaded(two).errors[0])


def test_a_fifo_and_a_giant_do_not_hold_us_up(two: tuple[Path, Path]) -> None:
    os.mkfifo(two[1] / "pipe.toml")
    (two[1] / "big.toml").write_bytes(b"#" * (65 << 10))
    found = loaded(two)
    assert "is larger than 64 KiB" in str(found.errors[0]) and "game" in found.profiles


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[tunables]\nslice_us = 100\n", "game.toml:2: tunables.slice_us is 100; use a whole number from 500 to 20000"),
        ("[tunables]\n\nslice = 1000\n", "game.toml:3: unknown key tunables.slice; did you mean tunables.slice_us?"),
        ("slice_us = 1000\n", "game.toml:1: unknown key slice_us; did you mean tunables.slice_us?"),
        ("[tunabels]\nslice_us = 1000\n", "game.toml:1: unknown key tunabels; did you mean [tunables]?"),
        ('mode = "on"\n', 'game.toml:1: mode is "on"; use "auto" or "always"'),
        ("[match]\nappid = 730\n", "game.toml:2: match.appid is 730; use a list of Steam AppIDs such as [730]"),
        ("[match]\nappid = [0]\n", "game.toml:2: match.appid is [0]; use a list of Steam AppIDs such as [730]"),
        ('[match]\ncmdline = ["*"]\n', 'game.toml:2: match.cmdline is ["*"]; use a list of patterns'),
        ('[why]\n"mode" = "x"\n', "game.toml:2: [why] names mode, which is not set here; remove it"),
        ("tunables = 3\n", "game.toml:1: tunables must be a table; write [tunables] on a line of its own"),
        ('[tunables]\nslice_us = 1000\n[why]\n"tunables.slice_us" = 5\n', "game.toml:4: the reason is 5; give"),
        ("[tunables]\nslice_us = true\n", "game.toml:2: tunables.slice_us is true; use"),
        ('x = """\n[tunables]\nslice_us = 3\n"""\n[tunables]\nslice_us = 3\n', "game.toml:1: unknown key x"),
        ('[network]\ndown = "8 Mbit"\nup = "fast"\n', 'game.toml:3: network.up is "fast"; write a rate such as'),
        ("[network]\nuo = 1\n", "game.toml:2: unknown key network.uo; did you mean network.up?"),
        ("[tunables]\nslice_us == 3\n", "game.toml:2: is not TOML"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what_would_be_right(text: str, wanted: str) -> None:
    assert one_error(text).startswith(wanted)


def test_two_claims_to_one_game_are_named(two: tuple[Path, Path]) -> None:
    (two[0] / "twin.toml").write_text("[match]\nappid = [1]\n")
    errors = [str(e) for e in check_set(loaded(two))]
    assert len(errors) == 1 and "twin.toml:2: appid 1 is also in game" in errors[0]


_SCALARS = st.one_of(st.integers(), st.booleans(), st.text(max_size=8), st.floats(allow_nan=False))
_KEYS = st.sampled_from(
    [
        "title",
        "mode",
        "match",
        "tunables",
        "why",
        "network",
        "power",
        "resources",
        "memory_low_mb",
        "appid",
        "exe",
        "slice_us",
        "x.y",
        "",
    ]
)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return (
            '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    return str(value) if not isinstance(value, float) else repr(value)


_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_any_toml_loads_or_is_one_line(tree: dict[str, object]) -> None:
    text = "".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in tree.items())
    try:
        profile = of_documents("fuzz", [parse(text.encode(), "fuzz.toml")], LIMITS)
    except ConfigError as error:
        assert "\n" not in str(error) and str(error).startswith("fuzz.toml")
    else:
        for name, value in profile.tunables.items():
            assert LIMITS[name][0] <= value <= LIMITS[name][1]


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | st.text(alphabet="[]{}=\"'\n\\,.#abc0 ", max_size=80).map(str.encode)
)
def test_any_bytes_load_or_are_one_line(raw: bytes) -> None:
    try:
        of_documents("fuzz", [parse(raw, "fuzz.toml")], LIMITS)
    except ConfigError as error:
        assert "\n" not in str(error) and str(error).startswith("fuzz.toml")

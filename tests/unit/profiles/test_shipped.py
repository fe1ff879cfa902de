# SPDX-License-Identifier: GPL-2.0-or-later
"""The shipped profiles: valid, with a reason for each setting, and in the published schema."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.config.settings import load as load_config
from scx_gamer.config.toml import ConfigError, parse
from scx_gamer.profiles import GENERAL, check_set, load, of_documents, without_reason
from scx_gamer.profiles.schema import schema_text
from tests.unit.profiles.support import LIMITS, SHIPPED, TOP

SCHEMA = json.loads((TOP / "profiles/schema.json").read_text())


def test_all_are_right(tmp_path: Path) -> None:
    found = load(LIMITS, SHIPPED, tmp_path)
    assert not found.errors and not check_set(found) and not without_reason(found)
    assert set(GENERAL) <= set(found.profiles)


def test_only_what_differs_is_set(tmp_path: Path) -> None:
    config = load_config(tmp_path)
    base: dict[str, object] = {f"tunables.{k}": v for k, v in config.tunables.items()}
    base["mode"] = config.mode
    for profile in load(LIMITS, SHIPPED, tmp_path).profiles.values():
        same = [k for k, v in profile.settings.items() if base.get(k) == v]
        assert not same, f"{profile.name} sets {same} to the default"
        assert profile.settings or profile.match or profile.name == "auto"


def test_general_profiles_are_for_no_game(tmp_path: Path) -> None:
    profiles = load(LIMITS, SHIPPED, tmp_path).profiles
    assert not any(profiles[name].match for name in GENERAL)


def test_published_schema_is_the_codes() -> None:
    text = (TOP / "profiles/schema.json").read_text()
    assert text == schema_text(LIMITS), "run: make schema"


def test_schema_takes_all_that_is_shipped() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for path in SHIPPED.glob("*.toml"):
        jsonschema.validate(tomllib.loads(path.read_text()), SCHEMA)


_TUNABLES = st.dictionaries(
    st.sampled_from([*LIMITS, "nonsense"]), st.integers(-5, 30000) | st.booleans(), max_size=4
)
_TREES = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["Game", "x" * 81, 5]),
        "mode": st.sampled_from(["auto", "always", "never", 1]),
        "tunables": _TUNABLES,
        "match": st.fixed_dictionaries(
            {},
            optional={
                "appid": st.lists(st.integers(-1, 1 << 65), max_size=3),
                "exe": st.lists(st.sampled_from(["a", "b.exe"]), max_size=2),
            },
        ),
        "other": st.just(1),
    },
)


def _lines(tree: dict[str, Any]) -> str:
    top = [f"{k} = {json.dumps(v)}\n" for k, v in tree.items() if not isinstance(v, dict)]
    tables = [
        f"[{k}]\n" + "".join(f"{n} = {json.dumps(x)}\n" for n, x in v.items())
        for k, v in tree.items()
        if isinstance(v, dict)
    ]
    return "".join(top + tables)


@settings(max_examples=400, deadline=None)
@given(_TREES)
def test_schema_and_code_agree(tree: dict[str, Any]) -> None:
    text = _lines(tree)
    try:
        of_documents("x", [parse(text.encode(), "x.toml")], LIMITS)
        ours = True
    except ConfigError:
        ours = False
    theirs = jsonschema.Draft202012Validator(SCHEMA).is_valid(tree)
    assert ours == theirs, text


@pytest.mark.parametrize("name", GENERAL)
def test_the_page_names_it(name: str) -> None:
    assert f"`{name}`" in (TOP / "docs/profiles.md").read_text()

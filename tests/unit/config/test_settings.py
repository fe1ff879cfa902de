# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration files: valid ones load; invalid ones give one line with place, mistake and remedy."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scx_gamer.config import settings
from scx_gamer.config.settings import ConfigError, load

ABI = Path(__file__).resolve().parents[3] / "bpf/include/abi.h"


def constants() -> dict[str, int]:
    """Return the values of the enumerators in abi.h."""
    found = re.findall(r"^\s*(SCXG_\w+) = (\d+),", ABI.read_text(), re.MULTILINE)
    return {name: int(value) for name, value in found}


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "conf.d").mkdir()
    return tmp_path


def write(etc: Path, text: str, name: str = "config.toml") -> Path:
    path = etc / name
    path.write_text(text)
    return path


def refusal(etc: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(etc)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_shipped_defaults_are_abi_defaults(etc: Path) -> None:
    known = constants()
    defaults = {k[9:].lower(): v for k, v in known.items() if k.startswith("SCXG_DEF_")}
    assert len(defaults) == known["SCXG_NR_TUNABLES"]
    assert dict(load(etc).tunables) == defaults


def test_shipped_file_is_in_its_own_limits(etc: Path) -> None:
    load(etc).check_tunables(constants())


def test_nothing_in_etc_is_the_shipped_file(etc: Path) -> None:
    got = load(etc)
    assert (got.mode, got.metrics_address, got.kernel_input) == ("auto", "", True)
    assert got.files == (settings.vendor_file(),)


def test_later_files_win_key_by_key(etc: Path) -> None:
    write(etc, 'mode = "always"\n[metrics]\nport = 1000\n')
    write(etc, "[metrics]\nport = 2000\n", "conf.d/20-b.toml")
    write(etc, '[metrics]\nport = 3000\naddress = "::1"\nenabled = true\n', "conf.d/10-a.toml")
    write(etc, "[metrics]\nport = 4000\n", "conf.d/30-c.toml.bak")
    got = load(etc)
    assert (got.mode, got.metrics_address) == ("always", "[::1]:2000")


def test_an_admins_drop_in_masks_the_vendors(
    etc: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    vendor = tmp_path_factory.mktemp("vendor")
    (vendor / "conf.d").mkdir()
    (vendor / "config.toml").write_bytes(settings.vendor_file().read_bytes())
    (vendor / "conf.d/50-x.toml").write_text('mode = "always"\n')
    assert load(etc, vendor / "config.toml").mode == "always"
    os.symlink("/dev/null", etc / "conf.d/50-x.toml")
    assert load(etc, vendor / "config.toml").mode == "auto"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('\nmoed = "auto"\n', ("config.toml:2:", "unknown key moed", "did you mean mode?")),
        ('mode = "fast"\n', ("config.toml:1:", 'mode is "fast"', '"auto" or "always"')),
        ("[metrics]\n\nport = 0\n", ("config.toml:3:", "metrics.port is 0", "1 to 65535")),
        ("[metrics]\nport = true\n", (":2:", "metrics.port is true", "whole number")),
        ('[metrics]\naddress = "0.0.0.0"\n', (":2:", '"0.0.0.0"', "loopback")),
        ('[metrics]\nadress = "::1"\n', (":2:", "did you mean metrics.address?")),
        ("port = 99\n", (":1:", "unknown key port", "did you mean metrics.port?")),
        ("# x\n[input]\nkernel_path = 1\n", (":3:", "input.kernel_path is 1", "true or false")),
        ("[tunables]\nslice_ms = 3\n", (":2:", "did you mean tunables.slice_us?")),
        ("[tunables]\nslice_us = -1\n", (":2:", "tunables.slice_us is -1", "0 or more")),
        ("tunables = 3\n", (":1:", "tunables must be a table", "[tunables]")),
        ("metrics.port = 70000\n", (":1:", "metrics.port is 70000")),
        ("mode = \n", ("config.toml:1:", "is not TOML")),
        ('[power]\nprofile = "fast"\n', ("config.toml:2:", "power.profile", '"power-saver"')),
        ('[power]\non_battery = "A b"\n', ("config.toml:2:", "power.on_battery", '"powersave"')),
        (
            "[resources]\nmemory_low_mb = -1\n",
            ("config.toml:2:", "resources.memory_low_mb", "1048576"),
        ),
        ("[resources]\nbackground_io_weight = 0\n", ("config.toml:2:", "from 1 to 100")),
        ("[power]\non_battery = true\n", ("config.toml:2:", "power.on_battery", '"none"')),
        ("x = " + "9" * 5000, ("config.toml", "is not TOML")),
        ("x = " + "[" * 50000, ("config.toml", "is nested too deeply")),
        ('"metrics.port" = 1\n', ("unknown key", "did you mean metrics.port?")),
    ],
)
def test_refusals_say_where_what_and_what_to_do(
    etc: Path, text: str, says: tuple[str, ...]
) -> None:
    write(etc, text)
    line = refusal(etc)
    for piece in says:
        assert piece in line


def test_a_tunable_out_of_limits_names_its_line(etc: Path) -> None:
    path = write(etc, "[tunables]\nbg_delay_ms = 71\n")
    with pytest.raises(ConfigError, match="use a value from 0 to 70") as caught:
        load(etc).check_tunables(constants())
    assert caught.value.where == f"{path}:2"


def test_not_utf8_too_big_and_unreadable(etc: Path) -> None:
    (etc / "config.toml").write_bytes(b'mode = "auto"\n# \xff\n')
    assert ":2: is not UTF-8" in refusal(etc)
    (etc / "config.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    assert "is larger than 1 MiB" in refusal(etc)
    (etc / "config.toml").unlink()
    (etc / "config.toml").mkdir()
    assert "Is a directory" in refusal(etc)


def test_a_given_folder_must_exist(tmp_path: Path) -> None:
    assert "is not a directory" in refusal(tmp_path / "absent")


def test_the_usual_folder_need_not_exist_when_it_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCX_GAMER_CONFIG_DIR", str(tmp_path / "absent"))
    assert load(Path(load().config_dir)) == load()


_KEYS = st.sampled_from(["mode", "metrics", "port", "tunables", "slice_us", "input", "x", "a.b"])
_VALUES = st.sampled_from(['"auto"', "1", "-1", "true", "[]", "{}", "{x=1}", "1.5", "nan", "''"])
_LINES = st.one_of(
    st.tuples(_KEYS, _VALUES).map(" = ".join), _KEYS.map("[{}]".format), st.text(max_size=30)
)


# No deadline: on a busy machine the time of one load is the machine's.
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None
)
@given(
    st.lists(_LINES, max_size=8).map("\n".join).map(lambda t: t.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=200)
)
def test_any_bytes_load_or_are_refused_in_one_line(etc: Path, raw: bytes) -> None:
    (etc / "config.toml").write_bytes(raw)
    refused = ""
    try:
        load(etc)
    except ConfigError as error:
        refused = str(error)
    assert refused.isprintable()

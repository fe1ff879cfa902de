# SPDX-License-Identifier: GPL-2.0-or-later
"""Print the JSON Schema of profiles. `make schema` writes it to profiles/schema.json."""

from scx_gamer.config.settings import tunable_limits
from scx_gamer.libbpf import shipped_abi
from scx_gamer.profiles.schema import schema_text

print(schema_text(tunable_limits(shipped_abi().constants)), end="")

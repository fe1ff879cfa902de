# SPDX-License-Identifier: GPL-2.0-or-later
"""Print the JSON Schema of profiles. `make schema` writes it to profiles/schema.json."""

from scx_gamer.config.settings import tunable_limits
from scx_gamer.libbpf import Abi, find_object, object_btf
from scx_gamer.profiles.schema import schema_text

print(schema_text(tunable_limits(Abi(object_btf(find_object("observe"))).constants)), end="")

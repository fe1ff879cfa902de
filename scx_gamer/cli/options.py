# SPDX-License-Identifier: GPL-2.0-or-later
"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from scx_gamer.cli.commands import JSON

Json = Annotated[bool, typer.Option(JSON.flag, help=JSON.help)]
Pid = Annotated[int, typer.Argument(min=1, max=2**22)]

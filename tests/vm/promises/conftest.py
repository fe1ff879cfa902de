# SPDX-License-Identifier: GPL-2.0-or-later
"""Promises in milliseconds and percent: on a real machine, or in lockstep, where virtual CPUs keep real time.

tests/vm/run --lockstep -- build/venv/bin/python -m pytest -s tests/vm/promises
"""

from tests.vm.detect.conftest import classes, desk, shared, sup

__all__ = ["classes", "desk", "shared", "sup"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Hooks of the installed unit on functions of modules.

tests/vm/run --systemd --display -- build/venv/bin/python -m pytest -s tests/vm/modules
"""

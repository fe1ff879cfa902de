# SPDX-License-Identifier: GPL-2.0-or-later
"""A marked game beside loads, in lockstep virtual time.

tests/vm/run --lockstep -- build/venv/bin/python -m pytest -s tests/vm/loads
"""

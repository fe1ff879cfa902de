# SPDX-License-Identifier: GPL-2.0-or-later
"""Sources of frame times beside games whose frames are known.

tests/vm/run --lockstep -- build/venv/bin/python -m pytest -s tests/vm/frames
"""

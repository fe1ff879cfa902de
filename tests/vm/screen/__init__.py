# SPDX-License-Identifier: GPL-2.0-or-later
"""Page flips of a real compositor on a card that QEMU emulates.

tests/vm/run --display -- build/venv/bin/python -m pytest -s tests/vm/screen
"""

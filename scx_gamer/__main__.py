# SPDX-License-Identifier: GPL-2.0-or-later
"""python -m scx_gamer"""

import sys

from scx_gamer.cli import main

sys.exit(main())

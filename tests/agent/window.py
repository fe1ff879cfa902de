# SPDX-License-Identifier: GPL-2.0-or-later
"""A program with one X window, for tests: python window.py DISPLAY NAME."""

from __future__ import annotations

import sys

from Xlib import X, display

server = display.Display(sys.argv[1])
screen = server.screen()
window = screen.root.create_window(
    0,
    0,
    200,
    100,
    0,
    screen.root_depth,
    background_pixel=screen.white_pixel,
    event_mask=X.StructureNotifyMask,
)
window.set_wm_name(sys.argv[2])
window.map()
server.flush()
while True:
    server.next_event()

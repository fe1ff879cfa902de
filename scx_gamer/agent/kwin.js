// SPDX-License-Identifier: GPL-2.0-or-later
// Reports the process of the active window to the session agent. Names differ between Plasma 5 and 6.
function reportFocus(window) {
	callDBus("io.github.scx_gamer.Agent1", "/io/github/scx_gamer/Agent1", "io.github.scx_gamer.Agent1", "Focus", window ? window.pid : 0);
}

(workspace.windowActivated || workspace.clientActivated).connect(reportFocus);
reportFocus(workspace.activeWindow || workspace.activeClient);

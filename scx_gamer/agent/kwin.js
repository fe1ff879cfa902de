// SPDX-License-Identifier: GPL-2.0-only
// Tells the agent of this session which process has the active window. Names differ between Plasma 5 and 6.
function tell(window) {
	callDBus("org.scxgamer.Agent1", "/org/scxgamer/Agent1", "org.scxgamer.Agent1", "Focus", window ? window.pid : 0);
}

(workspace.windowActivated || workspace.clientActivated).connect(tell);
tell(workspace.activeWindow || workspace.activeClient);

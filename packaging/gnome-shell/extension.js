// SPDX-License-Identifier: GPL-2.0-or-later
// Reports the process of the focused window to the session agent, while one runs. No title, no class, no other window.
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';
import {Extension} from 'resource:///org/gnome/shell/extensions/extension.js';

const AGENT = 'io.github.scx_gamer.Agent1';
const PATH = '/io/github/scx_gamer/Agent1';
const TIMEOUT_MS = 1000;

export default class FocusReporter extends Extension {
	enable() {
		this._agent = null; // unique name, so that a later owner of the name is told anew
		this._reported = null;
		this._focusId = global.display.connect('notify::focus-window', () => this._reportFocus());
		this._watchId = Gio.bus_watch_name(Gio.BusType.SESSION, AGENT, Gio.BusNameWatcherFlags.NONE,
			(_bus, _name, owner) => {
				this._agent = owner;
				this._reported = null;
				this._reportFocus();
			},
			() => {
				this._agent = null;
			});
	}

	disable() {
		Gio.bus_unwatch_name(this._watchId);
		global.display.disconnect(this._focusId);
		this._report(0); // also when the screen is locked
		this._agent = this._watchId = this._focusId = null;
	}

	_reportFocus() {
		const window = global.display.focus_window;
		this._report(window ? Math.max(window.get_pid(), 0) : 0);
	}

	_report(pid) {
		if (this._agent === null || pid === this._reported)
			return;
		this._reported = pid;
		Gio.DBus.session.call(this._agent, PATH, AGENT, 'Focus', new GLib.Variant('(u)', [pid]), null,
			Gio.DBusCallFlags.NO_AUTO_START, TIMEOUT_MS, null, null);
	}
}

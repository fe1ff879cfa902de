// SPDX-License-Identifier: GPL-2.0-or-later
// What the extension uses of GNOME Shell, run by gjs: its bus name, and a display whose focus follows lines on stdin,
// each a pid, `none`, `enable` or `disable`.
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';
import GObject from 'gi://GObject';

const Display = GObject.registerClass({
	Properties: {
		'focus-window': GObject.ParamSpec.jsobject('focus-window', '', '', GObject.ParamFlags.READABLE),
	},
}, class Display extends GObject.Object {
	get focus_window() {
		return this._window ?? null;
	}

	focus(pid) {
		this._window = pid === 0 ? null : {get_pid: () => pid};
		this.notify('focus-window');
	}
});

globalThis.global = {display: new Display()};
const {default: FocusReporter} = await import('./extension.js');
const extension = new FocusReporter();
const loop = new GLib.MainLoop(null, false);
const lines = new Gio.DataInputStream({base_stream: new Gio.UnixInputStream({fd: 0})});

function read() {
	lines.read_line_async(GLib.PRIORITY_DEFAULT, null, (_stream, result) => {
		const [line] = lines.read_line_finish_utf8(result);
		if (line === null)
			return loop.quit();
		if (line === 'enable' || line === 'disable')
			extension[line]();
		else
			global.display.focus(line === 'none' ? 0 : Number(line));
		return read();
	});
}

Gio.bus_own_name_on_connection(Gio.DBus.session, 'org.gnome.Shell', Gio.BusNameOwnerFlags.NONE, read, null);
loop.run();

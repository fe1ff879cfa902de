// SPDX-License-Identifier: GPL-2.0-or-later
// Stands in for GNOME's display manager, whose version is all that the shell asks for before it offers to lock the screen.
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

const NAME = 'org.gnome.DisplayManager';
const XML = `<node><interface name="${NAME}.Manager"><property name="Version" type="s" access="read"/></interface></node>`;

const object = Gio.DBusExportedObject.wrapJSObject(XML, {Version: '48.0'});
object.export(Gio.DBus.session, '/org/gnome/DisplayManager/Manager');
Gio.bus_own_name_on_connection(Gio.DBus.session, NAME, Gio.BusNameOwnerFlags.NONE, () => print('owned'), null);
new GLib.MainLoop(null, false).run();

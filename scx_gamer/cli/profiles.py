# SPDX-License-Identifier: GPL-2.0-or-later
"""profiles: list, show, validate, set, diff. Only `set` needs a running supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_gamer.cli import output, remote
from scx_gamer.cli.options import Json
from scx_gamer.system.exit_codes import BAD_CONFIG

if TYPE_CHECKING:
    from scx_gamer.config.toml import ConfigError
    from scx_gamer.profiles import Profile, ProfileSet
    from scx_gamer.profiles.schema import Limits


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Settings per game.", no_args_is_help=True)

    @group.command("list")
    def list_(as_json: Json = False) -> None:
        """List the profiles, the games each one is for, and the active one."""
        found = _load()
        active = _active()
        rows = [
            {
                "name": p.name,
                "title": p.title,
                "for": _for(p),
                "settings": len(p.settings),
                "origin": "vendor" if p.vendor else "admin",
                "active": p.name == active,
            }
            for p in found.profiles.values()
        ]
        if as_json:
            output.as_json({"profiles": rows, "errors": [str(e) for e in found.errors]})
            return
        head = ("name", "title", "for", "settings", "origin")
        output.table(
            ["", *(h.upper() for h in head)],
            (["*" if row["active"] else "", *(row[h] for h in head)] for row in rows),
        )
        for error in found.errors:
            print(f"invalid: {error}")

    @group.command("show")
    def show(name: str, as_json: Json = False) -> None:
        """Show the games, settings, reasons and files of a profile."""
        found = _load()
        profile = found.get(name)
        if as_json:
            output.as_json(_as_dict(profile))
            return
        output.pairs([("name", profile.name), ("title", profile.title), ("for", _for(profile))])
        output.pairs(("file", path) for path in profile.files)
        for setting, value in profile.settings.items():
            print(f"{setting} = {output.as_toml(value)}")
            print(f"      {profile.why.get(setting, '(no reason given)')}")
            print(f"      {profile.where.get(setting, '')}")

    @group.command("validate")
    def validate(
        files: Annotated[
            list[Path] | None, typer.Argument(help="Files to check; by default all in use.")
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Check profiles. Each mistake is reported with file, line, key and a valid value."""
        errors = _validate(files)
        if as_json:
            output.as_json(
                {
                    "ok": not errors,
                    "errors": [{"where": e.where, "what": e.what, "to_do": e.hint} for e in errors],
                }
            )
        else:
            for error in errors:
                print(error)
            if not errors:
                print("all profiles are valid" if not files else "valid")
        raise typer.Exit(BAD_CONFIG if errors else 0)

    @group.command("set")
    def set_(
        name: str,
        once: Annotated[
            bool, typer.Option("--once", help="Until the supervisor ends, not after a restart.")
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Use a profile from now on; auto returns to the profile of the running game."""
        answer = remote.request("profile_set", name=name, sticky=not once)
        if as_json:
            output.as_json(answer)
        elif isinstance(answer, dict):
            print(f"{answer.get('active')}: {answer.get('why')}")

    @group.command("diff")
    def diff_(
        name: str,
        other: Annotated[
            str | None, typer.Argument(help="A second profile; by default the configuration.")
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Show the differences between a profile and the configuration or another profile."""
        from scx_gamer.config.settings import load as load_config
        from scx_gamer.profiles import Difference, diff

        found = _load()
        config = load_config()
        base: dict[str, object] = {
            "mode": config.mode,
            **{f"tunables.{tunable}": value for tunable, value in config.tunables.items()},
        }
        left = {**base, **found.get(name).settings} if other else base
        right = found.get(other or name)
        changed = diff(left, right)
        if other:  # a setting of the first profile alone returns to the configuration's value
            changed += [
                Difference(setting, value, base.get(setting), f"set by {name} alone")
                for setting, value in found.get(name).settings.items()
                if setting not in right.settings and base.get(setting) != value
            ]
        if as_json:
            output.as_json(
                [
                    {"setting": d.setting, "left": d.left, "right": d.right, "why": d.why}
                    for d in changed
                ]
            )
            return
        if not changed:
            print("no difference")
        for one in changed:
            print(f"{one.setting}: {output.as_toml(one.left)} -> {output.as_toml(one.right)}")
            if one.why:
                print(f"      {one.why}")

    app.add_typer(group, name="profiles")


def _limits() -> Limits:
    from scx_gamer.config.settings import tunable_limits
    from scx_gamer.libbpf import shipped_abi

    return tunable_limits(shipped_abi().constants)


def _load() -> ProfileSet:
    from scx_gamer.profiles import folders, load

    return load(_limits(), *folders())


def _active() -> str:
    """Return the active profile of the running supervisor; empty without one."""
    answer = remote.ask("status")
    profile = answer.get("profile") if isinstance(answer, dict) else None
    return str(profile.get("active", "")) if isinstance(profile, dict) else ""


def _for(profile: Profile) -> str:
    match = profile.match
    parts = [f"AppID {n}" for n in match.appid] + list(match.exe) + list(match.cmdline)
    return ", ".join(parts) or "-"


def _as_dict(profile: Profile) -> dict[str, object]:
    return {
        "name": profile.name,
        "title": profile.title,
        "origin": "vendor" if profile.vendor else "admin",
        "files": [str(path) for path in profile.files],
        "match": {
            "appid": list(profile.match.appid),
            "exe": list(profile.match.exe),
            "cmdline": list(profile.match.cmdline),
        },
        "settings": [
            {
                "setting": setting,
                "value": value,
                "why": profile.why.get(setting, ""),
                "where": profile.where.get(setting, ""),
            }
            for setting, value in profile.settings.items()
        ],
    }


def _validate(files: list[Path] | None) -> list[ConfigError]:
    from scx_gamer.config.toml import ConfigError, read
    from scx_gamer.profiles import check_set, of_documents, without_reason
    from scx_gamer.profiles.load import MAX_BYTES

    if not files:
        found = _load()
        return [*found.errors, *check_set(found), *without_reason(found)]
    limits = _limits()
    errors: list[ConfigError] = []
    for path in files:
        try:
            of_documents(path.name.removesuffix(".toml"), [read(path, MAX_BYTES)], limits)
        except ConfigError as error:
            errors.append(error)
    return errors

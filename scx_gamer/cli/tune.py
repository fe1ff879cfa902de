# SPDX-License-Identifier: GPL-2.0-or-later
"""tune: settings for the game that runs, found by measurement while it is played."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scx_gamer import __version__
from scx_gamer.cli import output, remote
from scx_gamer.cli.compare import Now, Shortest, Wanted, check_named, find_game, plan_of
from scx_gamer.cli.options import Json
from scx_gamer.system.exit_codes import NO_PERMISSION, USAGE
from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_gamer.compare.blocks import Plan
    from scx_gamer.control.snapshot import GameFacts, ProfileFacts
    from scx_gamer.tune.course import Arm, Course
    from scx_gamer.tune.subject import Subject

CHECK_DAYS = 14  # after which a kept setting is checked again
_LOOK_EVERY_S = 5.0


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("tune")
    def tune(
        game: Wanted = "",
        now: Now = False,
        wait: Annotated[
            bool, typer.Option("--wait", help="Wait for GAME, session after session, until Ctrl-C.")
        ] = False,
        minutes: Annotated[
            float, typer.Option("--minutes", min=0.5, max=600, help="Longest part of a session.")
        ] = 45,
        seconds: Shortest = 30,
        only: Annotated[
            str, typer.Option("--only", help="Tunables to try, with commas; by default all.")
        ] = "",
        as_json: Json = False,
    ) -> None:
        """Try settings for your game while you play, and keep one only if it surely wins. As root."""
        check_named(game, now=now)
        if wait and (now or as_json):
            raise typer.BadParameter("--wait takes the name of a game, and no --json")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        names = [name.strip() for name in only.split(",") if name.strip()]
        while True:
            pid = _session(game, minutes, seconds, names, wait=wait, as_json=as_json)
            if not wait:
                return
            while pid in {one["pid"] for one in _games()}:
                time.sleep(_LOOK_EVERY_S)


def _games() -> list[GameFacts]:
    found: list[GameFacts] = remote.request("games")
    return found


def _session(
    wanted: str, minutes: float, seconds: float, only: list[str], *, wait: bool, as_json: bool
) -> int:
    """Tune for one session; return the pid of the game."""
    from scx_gamer.compare.blocks import CompareError
    from scx_gamer.system.errors import ScxGamerError

    if os.geteuid() != 0:
        raise CompareError("only root may try out settings", hint="use sudo", code=NO_PERMISSION)
    while True:
        try:
            game = find_game(_games(), wanted)
            break
        except CompareError:
            if not wait:
                raise
            time.sleep(_LOOK_EVERY_S)
    plan = plan_of(minutes, seconds)
    session = Session(game, only)
    stopped: BaseException | None = None
    try:
        session.run(plan)
    except (KeyboardInterrupt, ScxGamerError) as err:
        stopped = err
    if as_json and session.course is not None:
        output.as_json(session.as_json())
    elif session.course is not None:
        print(session.summary())
    if isinstance(stopped, ScxGamerError) and wait:
        print(f"scx-gamer: {stopped}", file=sys.stderr, flush=True)
    elif stopped is not None:
        raise stopped
    return game["pid"]


class Session:
    """A session of tuning a game that runs."""

    def __init__(self, game: GameFacts, only: list[str]) -> None:
        from scx_gamer.tune.subject import subject_of

        self._game, self._only = game, only
        self._name = printable(game["name"] or game["comm"], 80)
        self._subject: Subject = subject_of(game["main_pid"], self._name, game["app_id"])
        self._said: list[str] = []
        self.course: Course | None = None  # from the begin of the lease on

    def run(self, plan: Plan) -> None:
        """Go on with the course of the game until it is done or the time is over. Raises ScxGamerError."""
        from scx_gamer.compare.blocks import TimeOverError
        from scx_gamer.compare.live import TrialStage
        from scx_gamer.config.settings import tunable_limits
        from scx_gamer.libbpf import shipped_abi
        from scx_gamer.profiles import folders
        from scx_gamer.system.paths import paths
        from scx_gamer.tune import dropin, store
        from scx_gamer.tune.course import Tuner, trials

        constants = shipped_abi().constants
        limits = tunable_limits(constants)
        defaults = {name: constants[f"SCXG_DEF_{name.upper()}"] for name in limits}
        self._check_names(limits)
        facts: ProfileFacts = remote.request("status")["profile"]
        values = facts["tunables"]
        _, admin = folders()
        profile = self._profile(facts, limits)
        file = paths().tuning_file

        def arms(values: Mapping[str, int]) -> list[Arm]:
            found = trials(values, defaults, limits)
            return [arm for arm in found if not self._only or arm.name in self._only]

        with TrialStage(remote.request, self._game["pid"]) as stage:  # from here on nobody else
            courses = store.load(file)
            course = self.course = self._course(courses, values)

            def save() -> None:
                store.save(file, courses)
                dropin.put(admin, profile, self._subject, course.kept)

            tuner = Tuner(
                course, stage, plan, secrets.randbits(32), values, arms, save, _today(), __version__,
                self._say, self._progress,
            )  # fmt: skip
            with suppress(TimeOverError):
                tuner.run()

    def _check_names(self, limits: Mapping[str, object]) -> None:
        from scx_gamer.compare.blocks import CompareError

        for name in self._only:
            if name not in limits:
                known = ", ".join(sorted(limits))
                raise CompareError(
                    f"no tunable {printable(name, 40)}", hint=f"use some of {known}", code=USAGE
                )

    def _profile(self, facts: ProfileFacts, limits: Mapping[str, tuple[int, int]]) -> str:
        """Return the name of the profile that is the game's own. Raises CompareError."""
        from scx_gamer.compare.blocks import CompareError
        from scx_gamer.profiles import AUTO, folders, load
        from scx_gamer.tune.dropin import own_profile

        name = facts["active"]
        profile = load(limits, *folders()).profiles.get(name)
        if facts["chosen"] != AUTO or (profile and not profile.match and profile.settings):
            raise CompareError(
                f"profile {name} is for all games", hint="use `scx-gamer profiles set auto`, or make a"
                " profile for this game",
            )  # fmt: skip
        return name if profile and profile.match else own_profile(self._subject)

    def _course(self, courses: dict[str, Course], values: Mapping[str, int]) -> Course:
        """Return the course of the game, the last of `courses` now, as its versions and its age ask for."""
        from scx_gamer.tune.course import Course

        kernel, version = os.uname().release, self._subject.version
        course = courses.pop(self._subject.key, None) or Course(kernel, version)
        courses[self._subject.key] = course
        for name in [name for name, kept in course.kept.items() if values.get(name) != kept.value]:
            del course.kept[name]
            course.checks = [one for one in course.checks if one != name]
            self._say(f"{name} was changed by somebody else, and is forgotten")
        if (course.kernel, course.game) != (kernel, version):
            self._say(
                f"{kernel}, {version or 'unknown version'} is new: what is kept is checked again"
            )
            course.try_again(kernel, version)
        elif course.done and course.kept and course.checked < _today(-CHECK_DAYS):
            course.check_again()
        return course

    def _say(self, line: str) -> None:
        self._said.append(line)
        self._progress(line)

    def _progress(self, line: str) -> None:
        print(f"scx-gamer: {self._name}: {line}", file=sys.stderr, flush=True)

    def summary(self) -> str:
        """Return the state of the course for a player."""
        from scx_gamer.tune.dropin import evidence

        course = self.course
        assert course is not None
        lines = [f"{name} = {one.value}: {evidence(one)}" for name, one in course.kept.items()]
        lines = lines or ["no setting is kept"]
        if course.done:
            lines.append("done until the kernel or the game is updated")
        elif course.checks:
            lines.append(f"to be checked: {', '.join(course.checks)}; play on another time")
        else:
            lines.append(f"settings in the race: {len(course.arms) or 'all'}; play on another time")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the course as JSON."""
        from dataclasses import asdict

        course = self.course
        assert course is not None
        return {
            "schema": 1,
            "game": self._subject.key,
            "version": course.game,
            "kernel": course.kernel,
            "done": course.done,
            "kept": {name: asdict(one) for name, one in course.kept.items()},
            "left": [{"setting": arm.name, "value": arm.value} for arm in course.arms],
            "said": self._said,
        }


def _today(days: int = 0) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()

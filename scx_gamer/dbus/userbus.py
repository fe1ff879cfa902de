# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection to the bus of a user's session, by dbus-next: calls, signals, one object of ours. For the agent."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from scx_gamer.system.errors import ScxGamerError

_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
_ANSWER_S = 5.0
T = TypeVar("T")


class UserBusError(ScxGamerError):
    """A session bus that is not there, or a call that failed."""

    def __init__(self, what: str, name: str = "") -> None:
        super().__init__(what)
        self.name = name


@contextmanager
def _decorator_of_old_typing() -> Iterator[None]:
    """Lend typing what dbus-next 0.2.3 imports and Python 3.15 removed: it marked decorators for type checkers only."""
    name = "no_type_check_decorator"
    if hasattr(typing, name):
        yield
        return
    setattr(typing, name, lambda decorator: decorator)
    try:
        yield
    finally:
        delattr(typing, name)


class UserBus:
    """`async with UserBus(address)`. Raises UserBusError."""

    def __init__(self, address: str) -> None:
        try:
            with _decorator_of_old_typing():
                import dbus_next.service  # noqa: F401
            from dbus_next.aio.message_bus import MessageBus
            from dbus_next.constants import MessageType, RequestNameReply
            from dbus_next.message import Message
        except ImportError as err:
            raise UserBusError(f"{err}; install python3-dbus-next") from err
        self._message, self._type, self._name_reply = Message, MessageType, RequestNameReply
        try:
            self._bus: Any = MessageBus(bus_address=address)
        except Exception as err:  # dbus-next has no common base for what it raises here
            raise UserBusError(f"{address}: {err}") from err
        self._ended: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wait_for(self._bus.connect(), _ANSWER_S)
        except Exception as err:
            self._bus.disconnect()
            raise UserBusError(f"cannot connect: {type(err).__name__} {err}".strip()) from err
        self._ended = asyncio.ensure_future(self._bus.wait_for_disconnect())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.disconnect()
        if self._ended is not None:
            await asyncio.wait([self._ended], timeout=1)
            # dbus-next leaves both open: the stream always, the socket when the bus went away first
            self._bus._stream.close()
            self._bus._sock.close()
            if self._ended.done() and not self._ended.cancelled():
                self._ended.exception()  # looked at: a bus that went away is no surprise here

    async def wait(self, what: Awaitable[T]) -> T:
        """Return the result. Raises UserBusError if the bus ends first."""
        assert self._ended is not None
        task: asyncio.Future[T] = asyncio.ensure_future(what)
        both: list[asyncio.Future[Any]] = [task, self._ended]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise UserBusError("the bus has ended")
            return await task
        finally:
            task.cancel()

    async def call(
        self, to: str, path: str, interface: str, member: str, signature: str = "", body: Any = ()
    ) -> Any:
        """Call a method and return the first value of the answer, None without one."""
        message = self._message(
            destination=to, path=path, interface=interface, member=member, signature=signature,
            body=list(body),
        )  # fmt: skip
        try:
            reply = await self.wait(asyncio.wait_for(self._bus.call(message), _ANSWER_S))
        except (OSError, TimeoutError, EOFError) as err:
            raise UserBusError(f"{member}: no answer") from err
        if reply is None or reply.message_type == self._type.ERROR:
            name = reply.error_name if reply is not None else ""
            raise UserBusError(f"{member}: {name}", name)
        return reply.body[0] if reply.body else None

    async def owner(self, name: str) -> str:
        """Return the unique name that owns `name`, empty without one. Starts nothing."""
        try:
            return str(await self.call(_BUS, _BUS_PATH, _BUS, "GetNameOwner", "s", [name]))
        except UserBusError as err:
            if err.name.endswith("NameHasNoOwner"):
                return ""
            raise

    async def request_name(self, name: str) -> bool:
        """Return True if the name is ours now."""
        do_not_queue = 4
        answer = await self.call(_BUS, _BUS_PATH, _BUS, "RequestName", "su", [name, do_not_queue])
        return bool(
            answer in (self._name_reply.PRIMARY_OWNER.value, self._name_reply.ALREADY_OWNER.value)
        )

    async def _match(self, rule: str) -> None:
        await self.call(_BUS, _BUS_PATH, _BUS, "AddMatch", "s", [rule])

    async def on_owner(self, name: str, call: Callable[[str], None]) -> None:
        """Call with the new owner of a name, empty for none, at each change."""
        rule = f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{name}'"

        def look(message: Any) -> None:
            if (message.sender, message.member) == (_BUS, "NameOwnerChanged"):
                changed, _, owner = message.body
                if changed == name:
                    call(str(owner))

        self._bus.add_message_handler(look)
        await self._match(rule)

    async def on_signals(
        self, name: str, interface: str, call: Callable[[str, list[Any]], None]
    ) -> None:
        """Call with member and values of each signal of an interface of who has `name`: the bus checks the sender."""

        def look(message: Any) -> None:
            if message.message_type == self._type.SIGNAL and message.interface == interface:
                call(message.member, message.body)

        self._bus.add_message_handler(look)
        await self._match(f"type='signal',sender='{name}',interface='{interface}'")

    def on_call(
        self, path: str, interface: str, call: Callable[[str, str, list[Any]], bool]
    ) -> None:
        """Serve an object: `call(sender, member, values)`; what it says no to is answered with an error."""

        def look(message: Any) -> Any:
            if message.message_type != self._type.METHOD_CALL or message.path != path:
                return None
            if message.interface in (interface, None) and call(
                message.sender, message.member, message.body
            ):
                return self._message.new_method_return(message)
            return self._message.new_error(message, f"{_BUS}.Error.AccessDenied", "not for you")

        self._bus.add_message_handler(look)

"""Groups of calls, written once: over Wire a method answers, over AsyncWire it is awaited.

A method says what its call is and returns it as a value; the decorator carries it out. Each of the three
kinds is told by its decorator: `exchange` is one bounded HTTP exchange, `pages` is one for each page, `stream` follows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from gearbox_client.calls import Call, Page, Streaming
from gearbox_client.values.events import Event
from gearbox_client.wire import AsyncWire, Wire

P = ParamSpec("P")
T = TypeVar("T")
W = TypeVar("W", bound=Wire | AsyncWire)


class Group(Generic[W]):
    """Calls on one noun."""

    def __init__(self, wire: W) -> None:
        self._wire = wire


class exchange(Generic[P, T]):  # noqa: N801  (a decorator)
    """A method that is one bounded HTTP exchange."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, group: None, owner: type) -> Self: ...
    @overload
    def __get__(self, group: Group[Wire], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, group: Group[AsyncWire], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, group: Any, owner: type) -> Any:
        return self if group is None else _bound(self.describe, group, group._wire.send)  # noqa: SLF001  (the group's own)


class pages(Generic[P, T]):  # noqa: N801
    """A method that lists: one bounded exchange for each page, when it is needed."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Call[Page[T]]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, group: None, owner: type) -> Self: ...
    @overload
    def __get__(self, group: Group[Wire], owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, group: Group[AsyncWire], owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, group: Any, owner: type) -> Any:
        return self if group is None else _bound(self.describe, group, group._wire.pages)  # noqa: SLF001


class stream(Generic[P]):  # noqa: N801
    """A method that follows events, over as many connections as it takes."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Streaming]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, group: None, owner: type) -> Self: ...
    @overload
    def __get__(self, group: Group[Wire], owner: type) -> Callable[P, Generator[Event, None, None]]: ...
    @overload
    def __get__(self, group: Group[AsyncWire], owner: type) -> Callable[P, AsyncGenerator[Event, None]]: ...
    def __get__(self, group: Any, owner: type) -> Any:
        return self if group is None else _bound(self.describe, group, group._wire.events)  # noqa: SLF001


def _bound(describe: Callable[..., Any], group: Any, carry_out: Callable[[Any], Any]) -> Callable[..., Any]:
    @wraps(describe)
    def call(*args: Any, **named: Any) -> Any:
        return carry_out(describe(group, *args, **named))

    return call

"""Calls as values: one bounded HTTP exchange, or a stream. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from gearbox_client.problems import UnreadableAnswer
from gearbox_client.reading import reader
from gearbox_client.values.events import Event

T = TypeVar("T")
MOST_OF_A_PAGE = 100


class Method(StrEnum):
    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One exchange. `is_repeatable` says that sending it twice does no more than sending it once."""

    method: Method
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list, and where it goes on; None on the last."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """A stream to follow: how it is opened, where it is resumed, what begins and what ends it.

    Each rule gets the headers of the first answer, which name a chat's session and turn.
    `is_over` asks whether the end lies at a seq that was seen, or before it.
    """

    opening: Call[None]
    after: int
    resumed_at: Callable[[Mapping[str, str]], str]
    is_first: Callable[[Event, Mapping[str, str]], bool]
    is_last: Callable[[Event, Mapping[str, str]], bool]
    is_over: Callable[[Mapping[str, str], int], Call[bool]]


def get(path: str, read: Callable[[Any], T], **query: Any) -> Call[T]:
    return Call(method=Method.GET, path=path, read=read, query=_query(query), is_repeatable=True)


def post(path: str, read: Callable[[Any], T], body: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> Call[T]:
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else {}
    return Call(method=Method.POST, path=path, read=read, body=body, headers=headers, is_repeatable=bool(headers))


def page_of(kind: type[T], path: str, **query: Any) -> Call[Page[T]]:
    """Return the call for a list's first page."""
    return get(path, lambda told: _page(kind, told), **query)


def items_of(kind: type[T], path: str) -> Call[tuple[T, ...]]:
    """Return the call for a list that comes whole."""
    return get(path, lambda told: _page(kind, told).items)


def place(*segments: str) -> str:
    """Return the address below /v1, each segment quoted. Raises ValueError for one that would name another address."""
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise ValueError(f"{segment!r} is no name and no id.")
    return "/v1/" + "/".join(quote(segment, safe="@") for segment in segments)


def budget_of(usd: Decimal | None, tokens: int | None, model_calls: int | None) -> Mapping[str, Any] | None:
    """Return what an invocation may spend as the wire has it; None where nothing is said."""
    return given(cost_usd=None if usd is None else f"{usd:f}", tokens=tokens, model_calls=model_calls) or None


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given; the others are left to the server."""
    return {name: value for name, value in fields.items() if value is not None}


def moment(at: datetime | None) -> str | None:
    """Return a moment as the wire has it. Raises ValueError for one without its offset, which would be guessed."""
    if at is not None and at.utcoffset() is None:
        raise ValueError(f"{at} has no time zone.")
    return at.isoformat() if at else None


def _query(told: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in told.items() if value is not None}


def _page(kind: type[T], told: Any) -> Page[T]:
    if not isinstance(told, dict) or not isinstance(told.get("items"), list):
        raise UnreadableAnswer("A page has no items.")
    read = reader(kind)
    following = told.get("next")
    return Page(items=tuple(read(each) for each in told["items"]), next=None if following is None else str(following))

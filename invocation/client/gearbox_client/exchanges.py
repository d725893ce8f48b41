"""Between calls and httpx: how a call goes out, what its answer is, what each of httpx's errors means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from random import random
from typing import Any, TypeVar

import httpx

from gearbox_client.calls import Call, Method, Page
from gearbox_client.problems import Problem, Unreachable, UnreadableAnswer, problem_of
from gearbox_client.retrying import Reconnects, Retries, Trouble, pause_before_next

T = TypeVar("T")
CONNECT_S = 5.0
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
LOST = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError, httpx.DecodingError)
TURNED_AWAY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def luck() -> float:
    """Jitter, no secret."""
    return random()  # noqa: S311


class EndedEarly(Exception):
    """A stream ended in good order before its last event."""


TROUBLES = (*NOT_SENT, *LOST, Problem)
STREAM_TROUBLES = (*TROUBLES, Unreachable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Where the server is, as whom it is called, and how patiently."""

    base_url: str
    key: str = field(repr=False)
    patience: timedelta
    retries: Retries
    reconnects: Reconnects

    def options(self) -> dict[str, Any]:
        """Return what both of httpx's clients are made with. A redirect is an answer like another: the key goes nowhere else."""
        url = httpx.URL(self.base_url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"{self.base_url!r} is no http or https URL.")
        headers = {"Authorization": f"Bearer {self.key}", "Accept": "application/json", "User-Agent": "gearbox-client"}
        limit = httpx.Timeout(self.patience.total_seconds(), connect=CONNECT_S)
        return {"base_url": url, "headers": headers, "timeout": limit, "follow_redirects": False}

    @property
    def silence(self) -> httpx.Timeout:
        return httpx.Timeout(self.reconnects.longest_silence.total_seconds(), connect=CONNECT_S)


def outgoing(call: Call[Any]) -> dict[str, Any]:
    """Return the call as httpx's arguments."""
    told: dict[str, Any] = {"method": str(call.method), "url": call.path, "headers": dict(call.headers)}
    told |= {"params": dict(call.query)} if call.query else {}
    return told | ({"json": dict(call.body)} if call.body is not None else {})


def answer_of(call: Call[T], response: httpx.Response, *, sent: int) -> T:
    """Return what was answered. Raises Problem or UnreadableAnswer.

    What an earlier sending deleted, whose answer was lost, is not there any more: that is no refusal.
    """
    if call.method is Method.DELETE and sent > 1 and response.status_code == HTTPStatus.NOT_FOUND:
        return call.read(None)
    if not response.is_success:
        raise refusal_of(response)
    return call.read(_json(response) if response.content else None)


def refusal_of(response: httpx.Response) -> Problem:
    """Return the problem of an answer that was read and is no success."""
    try:
        told = response.json()
    except ValueError:
        told = response.text
    return problem_of(response.status_code, response.headers, told, now=datetime.now(UTC))


def pause_of(call: Call[Any], cause: Exception, *, sent: int, rules: Retries) -> timedelta:
    """Return the pause before the call is sent again. Raises the problem, or Unreachable, when it is not."""
    trouble = _trouble(cause)
    asked = cause.retry_after if isinstance(cause, Problem) else None
    pause = None
    if trouble is not None:
        pause = pause_before_next(trouble, sent=sent, is_repeatable=call.is_repeatable, retry_after=asked, rules=rules, luck=luck())
    if pause is None:
        raise cause if isinstance(cause, Problem) else Unreachable(f"{call.method} {call.path}: {cause or type(cause).__name__}") from cause
    return pause


def trouble_of_stream(cause: Exception) -> Trouble:
    """Return what befell a stream; a fault of the server is one more cut. Raises the cause when it is a refusal."""
    trouble = _trouble(cause)
    if trouble is None and isinstance(cause, Problem) and cause.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise cause
    return trouble or Trouble.LOST


def following(call: Call[Page[T]], cursor: str) -> Call[Page[T]]:
    """Return the call for the next page."""
    return replace(call, query={**call.query, "cursor": cursor})


def _trouble(cause: Exception) -> Trouble | None:
    """Return what came in place of an answer, None for an answer that is final."""
    if isinstance(cause, NOT_SENT):
        return Trouble.NOT_SENT
    if isinstance(cause, LOST):
        return Trouble.LOST
    is_turned_away = isinstance(cause, Problem) and cause.status in TURNED_AWAY and cause.retry_after is not None
    return Trouble.TURNED_AWAY if is_turned_away else None


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise UnreadableAnswer(f"{response.status_code}: the answer is not JSON.") from None

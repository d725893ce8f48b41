"""What a call raises: the server's problems by their status, and what is wrong before or beyond an answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

KNOWN = frozenset({"type", "title", "status", "detail", "instance", "code", "remedy", "retry_after_s"})


class GearboxError(Exception):
    """The base of all that this package raises by itself."""


class Unreachable(GearboxError):
    """No answer came. A call that may be repeated was; whether one that may not be has arrived is unknown."""


class UnreadableAnswer(GearboxError):
    """What was answered is not what the contract says; the sentence names the field."""


class BadSignature(GearboxError):
    """This is not a webhook of the holder of the secret, or it is too old or too new. Do not act on it."""


class Problem(GearboxError):
    """A refusal (RFC 9457). Decide by `code`, which is stable; `facts` are what this code adds."""

    def __init__(
        self,
        *,
        code: str,
        title: str,
        detail: str,
        status: int,
        remedy: str = "",
        retry_after: timedelta | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"{code}: {detail}{' ' + remedy if remedy else ''}")
        self.code = code
        self.title = title
        self.detail = detail
        self.status = status
        self.remedy = remedy
        self.retry_after = retry_after
        self.facts = facts


class Unauthenticated(Problem):
    """401: the key is missing, unknown or revoked."""


class Forbidden(Problem):
    """403: the key lacks the scope or the class."""


class NotFound(Problem):
    """404: there is no such thing for this tenant."""


class ResultNotReady(NotFound):
    """The job has not ended. Follow its events, or ask again later."""


class Conflict(Problem):
    """409: too late, or not now."""


class ResultWithheld(Conflict):
    """The job completed after its context had moved on, and was asked to keep its answer back then."""


class Gone(Problem):
    """410: retired, or there will be none."""


class NoResult(Gone):
    """The job failed or was cancelled: it has no result and will have none."""


class Refused(Problem):
    """422: understood and refused; `facts["field"]` names what is wrong."""


class TooManyRequests(Problem):
    """429: the tenant's minute or a quota is full; `retry_after` says until when."""


class ServerFault(Problem):
    """5xx: the server could not do it."""


class Unavailable(ServerFault):
    """503: held, saturated or out of service; `retry_after` says when to come back."""


BY_CODE: Mapping[tuple[int, str], type[Problem]] = MappingProxyType(
    {(404, "result_not_ready"): ResultNotReady, (409, "result_withheld"): ResultWithheld, (410, "no_result"): NoResult}
)
BY_STATUS: Mapping[int, type[Problem]] = MappingProxyType(
    {
        401: Unauthenticated,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        410: Gone,
        422: Refused,
        429: TooManyRequests,
        503: Unavailable,
    }
)


def problem_of(status: int, headers: Mapping[str, str], told: Any, *, now: datetime) -> Problem:
    """Return the exception for a refusal; what is no problem document (a proxy's page) becomes one with the code `http_STATUS`."""
    known = told if isinstance(told, Mapping) else {}
    code = str(known.get("code") or f"http_{status}")
    return _kind(status, code)(
        code=code,
        title=str(known.get("title") or _phrase(status)),
        detail=str(known.get("detail") or _short(told)),
        status=status,
        remedy=str(known.get("remedy") or ""),
        retry_after=retry_after(headers.get("retry-after"), now=now),
        facts=MappingProxyType({name: value for name, value in known.items() if name not in KNOWN}),
    )


def retry_after(header: str | None, *, now: datetime) -> timedelta | None:
    """Return how long Retry-After asks to wait, in seconds or until a date (RFC 9110, 10.2.3); None if it says nothing readable."""
    if header is None:
        return None
    told = header.strip()
    try:
        if told.isascii() and told.isdecimal():
            return timedelta(seconds=int(told))
        until = parsedate_to_datetime(told)
    except (ValueError, OverflowError):
        return None
    return max(timedelta(), (until if until.tzinfo else until.replace(tzinfo=UTC)) - now)


def _kind(status: int, code: str) -> type[Problem]:
    usual = ServerFault if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Problem
    return BY_CODE.get((status, code)) or BY_STATUS.get(status, usual)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"


def _short(told: Any) -> str:
    return " ".join(str(told or "").split())[:200] or "The answer says nothing more."

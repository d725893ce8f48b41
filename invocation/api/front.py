"""The front door of `POST /v1/jobs`: plain submissions that arrive together are accepted together, in one statement.

Only what is well-formed, allowed and plain is answered here. Everything else, every refusal
before anything is counted or written included, is passed on untouched to the view, so that each
rule and each sentence has one home; a test holds the two answers against each other. Once
something may have been written the view never sees it: it would be written twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.utils import timezone

from invocation.api import bodies
from invocation.api.jobs import told_of_accepted
from invocation.api.problems import CONTENT_TYPE, DEFECT, problem_of, rate_headers
from invocation.domain import traces
from invocation.domain.endpoints import check_size
from invocation.domain.errors import InvocationError
from invocation.domain.modes import Transport
from invocation.gateways.database import off_loop
from invocation.gateways.grouping import Grouper
from invocation.selectors import endpoints
from invocation.services import submission
from invocation.services.submission import Accepted, Ready, Submission
from quota.domain.callers import Caller, Scope
from quota.domain.days import DayStanding
from quota.domain.errors import QuotaError
from quota.domain.rates import Rate
from quota.services import days, keys, rates

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Request = dict[str, Any]
App = Callable[[Request, Receive, Send], Coroutine[Any, Any, None]]

PATH = "/v1/jobs"
PLAIN: Mapping[str, int] = {"endpoint": 120, "subject": 200, "locale": 16}
"""The strings that a plain submission may bring beside its input, and the most characters of each."""
MOST_BYTES = 65_536
BREATH = timedelta(milliseconds=5)
"""How long those who were just answered together may take to post again and go together once more. Whoever posts alone never waits."""
STANDING = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]
AWAY = (OperationalError, InterfaceError)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Plain:
    """A submission that needs no more than to be written."""

    caller: Caller
    submission: Submission


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told."""

    status: int
    content_type: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LetIn:
    """A submission that fits and was counted."""

    plain: Plain
    ready: Ready
    rate: Rate
    day: DayStanding | None


class FrontDoor:
    """An ASGI application in front of another one."""

    def __init__(self, behind: App) -> None:
        self._behind = behind
        self._together: Grouper[Plain, Answer | None] = Grouper(accept, breath=BREATH)
        self._keyed: Grouper[Plain, Answer | None] = Grouper(accept, breath=BREATH)

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        if scope.get("method") != "POST" or scope["path"] != PATH:
            await self._behind(scope, receive, send)
            return
        heard, body = await _read(receive)
        plain = await _plain(scope, body) if body is not None else None
        answer = await self._accepted(plain) if plain else None
        if answer is None:
            await self._behind(scope, _again(heard, receive), send)
        else:
            await _send(answer, send)

    async def _accepted(self, plain: Plain) -> Answer | None:
        """A key that somebody else is just writing is waited for; that stalls nobody who brought none."""
        return await (self._together if plain.submission.idempotency_key is None else self._keyed).do(plain)


def accept(asked: Sequence[Plain]) -> Sequence[Answer | None]:
    """Count and accept all in one exchange each; None for one that the view must answer: of it nothing is written."""
    now = timezone.now()
    try:
        let_in = _let_in(asked, now=now)
    except AWAY as away:
        return [_refused(away)] * len(asked)
    except Exception:  # noqa: BLE001  (whatever it is: nothing was written, and the view says what is wrong)
        return [None] * len(asked)
    answers: list[Answer | None] = [None] * len(asked)
    for (at, each), made in zip(let_in.items(), _written([each.ready for each in let_in.values()]), strict=True):
        answers[at] = _answer(each, made, now=now) if made else None
    return answers


def _let_in(asked: Sequence[Plain], *, now: datetime) -> Mapping[int, LetIn]:
    """Check all, count those that fit, and return by its place what may be written; the view counts and refuses the others."""
    standings = days.standings([each.caller for each in asked], now=now)
    may = [at for at, each in enumerate(asked) if _has_room(each.caller, standings[at])]
    fit = {at: ready for at in may if (ready := _ready(asked[at], now=now))}
    counted = rates.take_many([asked[at].caller for at in fit], now=now) if fit else []
    return {
        at: LetIn(asked[at], ready, rate, standings[at])
        for (at, ready), rate in zip(fit.items(), counted, strict=True)
        if isinstance(rate, Rate)
    }


def _has_room(caller: Caller, day: DayStanding | None) -> bool:
    """Say whether something is left of the caller's day; a day that nobody counts is begun by the view."""
    return not caller.plan.day.is_limited or (day is not None and day.spent is None)


def _ready(plain: Plain, *, now: datetime) -> Ready | None:
    try:
        return submission.ready(plain.submission, day=plain.caller.plan.day, now=now)
    except AWAY:
        raise
    except Exception:  # noqa: BLE001  (a refusal, or an error of its endpoint's own estimate: neither is its neighbours')
        return None


def _written(fit: Sequence[Ready]) -> Sequence[Accepted | Exception | None]:
    """Write all: the job or the error of each, None where the database refused the group, so that nothing of it is there."""
    try:
        return submission.submit_many(fit)
    except (DataError, IntegrityError):
        return [None] * len(fit)
    except Exception as error:  # noqa: BLE001  (each caller is told; it may all be written)
        return [error] * len(fit)


def _answer(let_in: LetIn, made: Accepted | Exception, *, now: datetime) -> Answer:
    if isinstance(made, Exception):
        return _refused(made, let_in)
    try:
        body = told_of_accepted(made, let_in.plain.submission.endpoint, let_in.plain.caller.tenant_id, now=now)
    except Exception as error:  # noqa: BLE001  (it is written: the view would write it again)
        return _refused(error, let_in)
    return Answer(202, "application/json", body, {"Location": body["links"]["self"], **rate_headers(let_in.rate, let_in.day)})


def _refused(error: Exception, let_in: LetIn | None = None) -> Answer:
    """Tell of an error as the view does."""
    problem = problem_of(error)
    if problem is DEFECT:
        log.error("call_failed", error=repr(error), exc_info=error)
    rates_told = rate_headers(let_in.rate, let_in.day) if let_in else {}
    return Answer(problem.status, CONTENT_TYPE, problem.body(PATH), {**problem.all_headers(), **rates_told})


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """Return what was received and the whole body, None for one that is not read to its end here."""
    heard, body = [], b""
    while True:
        message = await receive()
        heard.append(message)
        if message["type"] != "http.request":
            return heard, None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return heard, body
        if len(body) > MOST_BYTES:
            return heard, None


def _again(heard: list[Message], receive: Receive) -> Receive:
    """Let whoever is behind hear what was heard, and then what follows."""

    async def again() -> Message:
        return heard.pop(0) if heard else await receive()

    return again


async def _plain(scope: Mapping[str, Any], body: bytes) -> Plain | None:
    """Return the submission if nothing of it needs the view."""
    headers = dict(scope["headers"])
    told = _json(headers, body) if not scope.get("query_string") else None
    if told is None:
        return None
    try:
        caller = await _caller(headers.get(b"authorization", b"").decode("latin-1"))
        return _submission(headers, told, caller, body) if caller else None
    except (InvocationError, QuotaError, *AWAY):
        return None


def _json(headers: Mapping[bytes, bytes], body: bytes) -> dict[str, Any] | None:
    if headers.get(b"content-type") != b"application/json" or b"\\u0000" in body:
        return None
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("input"), dict) or "endpoint" not in told:
        return None
    return told if all(name == "input" or _is_plain(value, PLAIN.get(name, 0)) for name, value in told.items()) else None


def _is_plain(value: Any, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value == value.strip()


async def _caller(header: str) -> Caller | None:
    """Return the caller. Raises BadKey, KeyRevoked or ScopeMissing, and OperationalError while the database is away."""
    scheme, _, key = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    now, key = timezone.now(), key.strip()
    caller = keys.recall(key, now=now)
    if caller is None:
        caller = await off_loop(keys.authenticate, key, now=now)
    caller.require(Scope.INVOKE)
    return caller


def _submission(headers: Mapping[bytes, bytes], told: dict[str, Any], caller: Caller, body: bytes) -> Plain:
    endpoint = endpoints.callable_as(told["endpoint"], Transport.JOB)
    check_size(endpoint, len(body))
    caller.require_class(endpoint.policy.priority_class)
    given, trace = headers.get(b"idempotency-key"), headers.get(b"traceparent")
    key = None if given is None else bodies.unquoted_key(given.decode("latin-1"))
    wanted = Submission(
        tenant_id=caller.tenant_id,
        endpoint=endpoint,
        input=told["input"],
        subject=told.get("subject", ""),
        locale=told.get("locale", "en"),
        idempotency_key=key,
        fingerprint=submission.fingerprint("POST", PATH, told) if key else "",
        traceparent=traces.taken(None if trace is None else trace.decode("latin-1")),
    )
    return Plain(caller, wanted)


async def _send(answer: Answer, send: Send) -> None:
    body = orjson.dumps(answer.body, option=orjson.OPT_UTC_Z, default=str)
    told = {"Content-Type": answer.content_type, "Content-Length": str(len(body)), **answer.headers}
    headers = [*STANDING, *((name.lower().encode(), value.encode()) for name, value in told.items())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

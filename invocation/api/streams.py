"""Calls that stream Server-Sent Events: async views beside DRF's with the same keys, problems and throttles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, cast
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.views import APIView

from invocation.api import bodies
from invocation.api.calls import must_have_room
from invocation.api.describing import TRACEPARENT, described
from invocation.api.problems import rate_headers, respond
from invocation.api.shapes.chat import ChatBody, SessionQuery
from invocation.api.shapes.fields import AfterQuery, PlacedEvent, wish_of
from invocation.api.streaming import Told, streaming
from invocation.domain import traces
from invocation.domain.endpoints import check_size
from invocation.domain.errors import InputInvalid, InvocationError
from invocation.domain.measures import RESUMES, SHEDS
from invocation.domain.modes import Transport
from invocation.domain.sessions import Line
from invocation.gateways.database import off_loop
from invocation.selectors import endpoints
from invocation.selectors.chat import owned_session
from invocation.selectors.jobs import owned_job
from invocation.services import connections, double_sends, request_rates, tallies
from invocation.services.connections import Place
from invocation.services.following import follow, follow_turn
from invocation.services.resuming import follow_job, follow_to_rest
from invocation.services.turn_openings import Opening
from quota.api.authentication import caller_from_header
from quota.domain.callers import Caller, Scope
from quota.domain.classes import PriorityClass
from quota.domain.days import DayStanding
from quota.domain.errors import QuotaError
from quota.services import days, keys

TAG = "chat"
MOST_SEQ = 2**53
EVENTS = {(200, "text/event-stream"): OpenApiResponse(PlacedEvent, "Each `data` line is one event object; `id` is its seq.")}
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID", OpenApiTypes.INT, OpenApiParameter.HEADER, description="The last seq that was seen; the stream goes on behind it."
)


class Stream(APIView):
    """An async view that DRF describes and does not run: its dispatch gives the method a caller, or answers the problem."""

    scope: ClassVar[Scope] = Scope.READ
    day: DayStanding | None = None

    async def dispatch(self, request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:  # type: ignore[override]
        place: Place | None = None
        try:
            caller = await _caller(request.headers.get("Authorization"))
            rate = await request_rates.take(caller, now=timezone.now())
            [self.day] = await _standings(caller)
            caller.require(self.scope)
            place = await connections.desk().enter(caller, Line.SSE)
            told: Told = await self._method(request)(request, caller, place, **named)
        except asyncio.CancelledError:
            _leave(place)
            raise
        except Exception as error:  # noqa: BLE001  (one table turns every refusal into its answer)
            _leave(place)
            _count_shed(place, error)
            return respond(error, request)
        answer = streaming(told, place, caller)
        for name, value in rate_headers(rate, self.day).items():
            answer.headers[name] = value
        return answer

    def _method(self, request: HttpRequest) -> Callable[..., Awaitable[Told]]:
        found = getattr(self, str(request.method).lower(), None)
        if found is None or request.method not in {"GET", "POST"}:
            raise MethodNotAllowed(str(request.method))
        return cast(Callable[..., Awaitable[Told]], found)


class Chat(Stream):
    scope = Scope.INVOKE

    @described(
        "chat",
        "Ask, and stream the turn to its end",
        tag=TAG,
        answers=EVENTS,
        refuses=(400, 404, 409, 410, 413, 415, 422),
        request=ChatBody,
        parameters=[TRACEPARENT],
    )
    async def post(self, request: HttpRequest, caller: Caller, place: Place) -> Told:
        """Send one turn as Server-Sent Events up to `turn.completed` or `turn.failed`.

        The header `X-Gearbox-Session` names the session to ask in again.
        """
        now = timezone.now()
        await self._must_have_room(caller, now=now)
        opening = _opening(request, caller)
        place.name(opening.endpoint.label)
        opened = await double_sends.ask(opening, now=now)
        return Told(
            follow_turn(opened.session_id, opened.turn_id, after=opened.after, heard=opened.heard),
            session_id=opened.session_id,
            asked=(opened.turn_id, now),
            headers={"X-Gearbox-Session": str(opened.session_id), "X-Gearbox-Turn": str(opened.turn_id)},
        )

    async def _must_have_room(self, caller: Caller, *, now: datetime) -> None:
        """The day was read when the call came in; only one that nobody counts yet is begun. Raises DaySpent or DayTokensSpent."""
        if self.day is None and caller.plan.day.is_limited:
            await off_loop(must_have_room, caller)
        days.check_room(self.day, now=now)


class SessionEvents(Stream):
    @described(
        "follow_session",
        "Resume a session's stream",
        tag=TAG,
        answers=EVENTS,
        refuses=(404, 422),
        parameters=[SessionQuery, LAST_EVENT_ID],
    )
    async def get(self, request: HttpRequest, caller: Caller, place: Place, session_id: UUID) -> Told:
        """Send what came behind `after` (or `Last-Event-ID`): nothing is lost or repeated.

        Where the log was trimmed, a `gap` event brings the stored text. The stream ends when
        no turn is open, unless `follow=1`.
        """
        asked = bodies.query(request, SessionQuery)
        session = await off_loop(owned_session, caller.tenant_id, session_id)
        after = _after(request, asked)
        place.name(session.endpoint)
        tallies.count(RESUMES, session.endpoint, Line.SSE)
        events = follow(session_id, after=after) if asked.get("follow") else follow_to_rest(session_id, after=after)
        return Told(events, session_id=session_id)


class JobEvents(Stream):
    @described(
        "follow_job",
        "Follow a job to its end",
        tag="jobs",
        answers=EVENTS,
        refuses=(404, 422),
        parameters=[AfterQuery, LAST_EVENT_ID],
    )
    async def get(self, request: HttpRequest, caller: Caller, place: Place, job_id: UUID) -> Told:
        """Send the job's history up to its last event, each event under its seq.

        In silence a heartbeat comes every two seconds.
        """
        asked = bodies.query(request, AfterQuery)
        job = await off_loop(owned_job, caller.tenant_id, job_id)
        place.name(job.endpoint)
        return Told(follow_job(job_id, after=_after(request, asked)))


async def _caller(header: str | None) -> Caller:
    """Return whose key the header holds; one that this process knows asks nobody. Raises BadKey, KeyRevoked."""
    scheme, _, key = (header or "").strip().partition(" ")
    known = keys.recall(key.strip(), now=timezone.now()) if scheme.lower() == "bearer" else None
    return known if known is not None else await off_loop(caller_from_header, header)


async def _standings(caller: Caller) -> list[DayStanding | None]:
    return await off_loop(days.standings, [caller], now=timezone.now()) if caller.plan.day.is_limited else [None]


def _opening(request: HttpRequest, caller: Caller) -> Opening:
    told = bodies.body(request, ChatBody)
    endpoint = endpoints.callable_as(told["endpoint"], Transport.SESSION)
    check_size(endpoint, len(request.body))
    caller.require_class(endpoint.policy.priority_class)
    return Opening(
        tenant_id=caller.tenant_id,
        endpoint=endpoint,
        input=told["input"],
        session_id=told.get("session"),
        subject=told.get("subject", ""),
        locale=told.get("locale", "en"),
        metadata=told.get("metadata"),
        wish=wish_of(told),
        at_once=caller.plan.in_flight.get(PriorityClass.P0),
        day=caller.plan.day,
        traceparent=traces.taken(request.headers.get("traceparent")),
    )


def _after(request: HttpRequest, asked: Mapping[str, Any]) -> int:
    """Return the seq to go on behind; a browser that reconnects names it in Last-Event-ID. Raises InputInvalid."""
    header = request.headers.get("Last-Event-ID")
    if header is None:
        return int(asked.get("after", 0))
    if not header.isascii() or not header.isdecimal() or int(header) > MOST_SEQ:
        raise InputInvalid("Last-Event-ID is the seq of an event, a whole number.", field="Last-Event-ID", found=header[:40])
    return int(header)


def _leave(place: Place | None) -> None:
    if place is not None:
        place.leave()


def _count_shed(place: Place | None, error: Exception) -> None:
    if isinstance(error, InvocationError | QuotaError) and error.retryable:
        tallies.count(SHEDS, place.endpoint if place else connections.UNNAMED, error.code)

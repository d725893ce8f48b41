"""Chat over WebSocket: questions in, the session's events out, one follower for as long as a turn is open."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from datetime import timedelta
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import parse_qsl
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from django.utils import timezone

from invocation.domain import traces
from invocation.domain.endpoints import Endpoint, check_size
from invocation.domain.errors import InputInvalid, InvocationError, NotFound, SessionBusy, StaleMove, StreamUnavailable
from invocation.domain.frames import Frame, FrameType, parse_frame
from invocation.domain.modes import Transport
from invocation.domain.turns import EventType
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.selectors import endpoints, outstanding
from invocation.selectors.chat import owned_session
from invocation.services import chatting, tickets
from invocation.services.following import follow_turn
from invocation.services.resuming import follow_to_rest
from invocation.services.turns import Opening
from quota.api.authentication import caller_from_header
from quota.domain.callers import Caller, Scope
from quota.domain.classes import PriorityClass
from quota.domain.errors import BadKey, ClassNotAllowed, KeyRevoked, QuotaError, ScopeMissing
from quota.services import days, rates

UNAUTHENTICATED, FORBIDDEN, UNKNOWN, CONFLICT, UNAVAILABLE = 4401, 4403, 4404, 4409, 4503
MOST_SEQ = 2**53
BREATH = timedelta(seconds=2)

CODES: Mapping[type[Exception], int] = MappingProxyType(
    {
        BadKey: UNAUTHENTICATED,
        KeyRevoked: UNAUTHENTICATED,
        ScopeMissing: FORBIDDEN,
        ClassNotAllowed: FORBIDDEN,
        SessionBusy: CONFLICT,
        StaleMove: CONFLICT,
    }
)

Refusal = InvocationError | QuotaError


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One connection. A refusal of the connection is an `error` event and a close code; one of a frame is the event alone."""

    caller: Caller
    endpoint: Endpoint
    session_id: UUID | None = None
    seq = 0
    follower: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Accept first: a browser learns a close code only of a connection that was open."""
        await self.accept()
        try:
            await self._open()
        except (InvocationError, QuotaError) as refusal:
            await self._refuse(refusal)
            await self.close(_close_code(refusal))
        except DatabaseError:
            await self.close(UNAVAILABLE)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            frame = parse_frame(text_data if text_data is not None else bytes_data or b"")
            await self._acts[frame.type](frame)
        except (InvocationError, QuotaError) as refusal:
            await self._refuse(refusal)
        except DatabaseError:
            await self._refuse(StreamUnavailable("The database cannot be reached.", retry_after=chatting.RETRY_STREAM))

    async def disconnect(self, code: int) -> None:
        """Leave; a turn that is open goes on, and its end is kept."""
        await self._stop_following()

    async def _open(self) -> None:
        query = _query(self.scope)
        self.caller = await off_loop(_recognise, query, _header(self.scope))
        await rates.atake(self.caller, now=timezone.now())
        self.caller.require(Scope.INVOKE)
        self.endpoint = endpoints.callable_as(self.scope["url_route"]["kwargs"]["label"], Transport.SESSION)
        self.caller.require_class(self.endpoint.policy.priority_class)
        if "session" in query:
            await self._resume(query)
        await self._ready()
        if self.session_id is not None:
            self._follow(follow_to_rest(self.session_id, after=self.seq))

    async def _resume(self, query: Mapping[str, str]) -> None:
        session = await off_loop(owned_session, self.caller.tenant_id, _uuid(query["session"]))
        self.session_id = session.pk
        self.seq = _seq(query["after"]) if "after" in query else session.last_seq

    async def _turn(self, frame: Frame) -> None:
        check_size(self.endpoint, frame.bytes)
        await rates.atake(self.caller, now=timezone.now())
        if self.caller.plan.day.is_limited:
            await off_loop(days.must_have_room, self.caller, now=timezone.now(), under_way=outstanding.under_way)
        opened = await chatting.ask(self._opening(frame), now=timezone.now())
        await self._stop_following()
        if self.session_id is None:
            self.session_id, self.seq = opened.session_id, opened.after
            await self._ready()
        self._follow(follow_turn(opened.session_id, opened.turn_id, after=self.seq, heard=opened.heard))

    async def _cancel(self, frame: Frame) -> None:
        if self.session_id is None:
            raise StaleMove("Nothing was asked yet, so there is nothing to stop.")
        await off_loop(chatting.stop, self.caller.tenant_id, self.session_id, now=timezone.now())

    def _opening(self, frame: Frame) -> Opening:
        return Opening(
            tenant_id=self.caller.tenant_id,
            endpoint=self.endpoint,
            input=frame.input,
            session_id=self.session_id,
            subject=frame.subject,
            locale=frame.locale,
            metadata=frame.metadata,
            at_once=self.caller.plan.in_flight.get(PriorityClass.P0),
            traceparent=traces.new(),
        )

    @property
    def _acts(self) -> Mapping[FrameType, Callable[[Frame], Awaitable[None]]]:
        return {FrameType.TURN: self._turn, FrameType.CANCEL: self._cancel}

    def _follow(self, events: AsyncIterator[Event]) -> None:
        self.follower = asyncio.create_task(self._send_all(events))

    async def _send_all(self, events: AsyncIterator[Event]) -> None:
        async with aclosing(events) as each:  # type: ignore[type-var]
            async for event in each:
                self.seq = event.seq
                await self.send(text_data=event.as_bytes().decode())

    async def _stop_following(self) -> None:
        if self.follower is not None:
            self.follower.cancel()
            with suppress(asyncio.CancelledError):
                await self.follower
            self.follower = None

    async def _ready(self) -> None:
        session = str(self.session_id) if self.session_id else None
        await self._tell(EventType.SESSION_READY, {"session": session, "endpoint": self.endpoint.label, "seq": self.seq})

    async def _refuse(self, refusal: Refusal) -> None:
        await self._tell(EventType.ERROR, _told(refusal))

    async def _tell(self, kind: EventType, told: Mapping[str, Any]) -> None:
        """Say something that is not stored: it carries the last seq."""
        await self.send(text_data=Event(self.seq, str(kind), timezone.now().isoformat(), dict(told)).as_bytes().decode())


def _recognise(query: Mapping[str, str], authorization: str | None) -> Caller:
    """Return whose ticket or key it is. Raises BadKey, KeyRevoked."""
    if "ticket" in query:
        return tickets.redeem(query["ticket"], now=timezone.now())
    return caller_from_header(authorization)


def _query(scope: Mapping[str, Any]) -> Mapping[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin1")))


def _header(scope: Mapping[str, Any]) -> str | None:
    found = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    return cast(bytes, found).decode("latin1") if found is not None else None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"There is no session {text[:80]!r}.", field="session", found=text[:80]) from None


def _seq(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > MOST_SEQ:
        raise InputInvalid("after: the seq of an event, a whole number, is wanted.", field="after", found=text[:40])
    return int(text)


def _close_code(refusal: Refusal) -> int:
    """What may pass is unavailable; the rest, unless it has a code of its own, is not to be found here."""
    return UNAVAILABLE if refusal.retryable and type(refusal) not in CODES else CODES.get(type(refusal), UNKNOWN)


def _told(refusal: Refusal) -> dict[str, Any]:
    """Return what an `error` event says: as a problem does, without the status, which a socket has not."""
    facts = dict(getattr(refusal, "facts", {}))
    title = refusal.title if isinstance(refusal, InvocationError) else InvocationError.title
    told = {**facts, "code": refusal.code, "title": title, "detail": str(refusal)}
    return told | ({"retry_after_s": math.ceil((refusal.retry_after or BREATH).total_seconds())} if refusal.retryable else {})

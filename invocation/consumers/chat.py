"""Chat over WebSocket: questions in, the session's events out, one follower for as long as a turn is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from invocation.consumers import handshake, refusals
from invocation.consumers.refusals import GO_ELSEWHERE, UNAVAILABLE, UNKNOWN, Refusal
from invocation.domain import traces
from invocation.domain.endpoints import Endpoint, check_size
from invocation.domain.errors import ConnectionIdle, InvocationError, StaleMove, StreamUnavailable, TooManyFrames
from invocation.domain.frames import Frame, FrameType, Pace, parse_frame
from invocation.domain.measures import RESUMES, SENT_AWAY, SHEDS
from invocation.domain.modes import Transport
from invocation.domain.sessions import Line
from invocation.domain.turns import EventType
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.selectors import endpoints, outstanding
from invocation.selectors.chat import owned_session
from invocation.services import abandoned, cancelling, chatting, connections, double_sends, offers, request_rates, tallies
from invocation.services.connections import Place
from invocation.services.following import follow_turn
from invocation.services.passing import Meter, gathered
from invocation.services.resuming import follow_to_rest
from invocation.services.turn_openings import Opening
from quota.domain.callers import Caller, Scope
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaError
from quota.services import days

log = structlog.get_logger()
NO_DATABASE = "The database cannot be reached."
COME_BACK_MS = 250


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One connection. A refusal of the connection is an `error` event and a close code; one of a frame is the event alone."""

    caller: Caller
    endpoint: Endpoint
    meter: Meter
    place: Place | None = None
    session_id: UUID | None = None
    seq = 0
    follower: asyncio.Task[None] | None = None
    idle: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.pace = Pace()
        self.others: set[asyncio.Task[None]] = set()
        """What goes on beside the reading of frames: questions that wait for their turn, a goodbye."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """However it ends, by its reader's leaving, by a defect or cut short by the server, it lets go of what it holds."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._let_go()

    async def connect(self) -> None:
        """Accept first: a browser learns a close code only of a connection that was open."""
        await self.accept()
        try:
            await self._open()
        except (InvocationError, QuotaError) as refusal:
            await self._turn_away(refusal)
        except DatabaseError:
            await self.close(UNAVAILABLE)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.place is None:
            return
        if not self.pace.allows(now_s=asyncio.get_running_loop().time()):
            await self._turn_away(TooManyFrames("Frames come faster than anybody types: connect again and slow down."))
            return
        self._unwatch()
        await self._answered(self._take(text_data if text_data is not None else bytes_data or b""))
        self._watch()

    async def disconnect(self, code: int) -> None:
        """Leave. What becomes of a turn that is open is the endpoint's to say; its end is kept either way."""
        self._let_go()
        await self._stop_following()

    def _let_go(self) -> None:
        """Give back what the connection holds, before anything is waited for; a second time there is nothing."""
        place, self.place = self.place, None
        if place is None:
            return
        place.leave()
        self._unwatch()
        if self.session_id is not None and (self.others or self._is_following):
            abandoned.left(self.endpoint, self.caller.tenant_id, self.session_id)
        for task in [*self.others]:
            task.cancel()
        if self.follower is not None:
            self.follower.cancel()

    async def _open(self) -> None:
        query = handshake.query_of(self.scope)
        self.caller = await off_loop(handshake.recognise, query, handshake.authorization_of(self.scope))
        await request_rates.take(self.caller, now=timezone.now())
        self.caller.require(Scope.INVOKE)
        self.endpoint = endpoints.callable_as(self.scope["url_route"]["kwargs"]["label"], Transport.SESSION)
        self.caller.require_class(self.endpoint.policy.priority_class)
        self.meter = Meter(self.endpoint.label, Line.WEBSOCKET)
        place = await connections.desk().enter(self.caller, Line.WEBSOCKET)
        place.name(self.endpoint.label)
        try:
            await self._begin(query)
        except BaseException:
            place.leave()
            raise
        place.send_away = lambda: self._beside(self._go_elsewhere())
        self.place = place
        self._watch()

    async def _begin(self, query: Mapping[str, str]) -> None:
        if "session" in query:
            await self._resume(query)
        await self._ready()
        if self.session_id is not None:
            self._follow(follow_to_rest(self.session_id, after=self.seq))

    async def _resume(self, query: Mapping[str, str]) -> None:
        session = await off_loop(owned_session, self.caller.tenant_id, handshake.uuid_of(query["session"], what="session"))
        self.session_id = session.pk
        self.seq = handshake.seq_of(query["after"]) if "after" in query else session.last_seq
        if "after" in query:
            tallies.count(RESUMES, self.endpoint.label, Line.WEBSOCKET)

    async def _answered(self, act: Awaitable[None]) -> None:
        """Do what a frame asks, and tell of a refusal."""
        try:
            await act
        except (InvocationError, QuotaError) as refusal:
            await self._refuse(refusal)
        except DatabaseError:
            await self._refuse(StreamUnavailable(NO_DATABASE, retry_after=chatting.RETRY_STREAM))

    async def _take(self, raw: str | bytes) -> None:
        frame = parse_frame(raw)
        await self._acts[frame.type](frame)

    async def _turn(self, frame: Frame) -> None:
        """Ask. The reading of frames goes on meanwhile: a stop must not wait behind a question that waits."""
        now = timezone.now()
        check_size(self.endpoint, frame.bytes)
        await request_rates.take(self.caller, now=now)
        if self.caller.plan.day.is_limited:
            await off_loop(days.must_have_room, self.caller, now=now, under_way=outstanding.under_way)
        if self.session_id is None:
            await self._ask(frame, now)
        else:
            self._beside(self._answered(self._ask(frame, now)))

    async def _ask(self, frame: Frame, now: datetime) -> None:
        opened = await double_sends.ask(self._opening(frame), now=now)
        self.meter.asked(opened.turn_id, ago_s=(timezone.now() - now).total_seconds())
        await self._stop_following()
        if self.session_id is None:
            self.session_id, self.seq = opened.session_id, opened.after
            await self._ready()
        self._follow(follow_turn(opened.session_id, opened.turn_id, after=self.seq, heard=opened.heard))

    async def _cancel(self, frame: Frame) -> None:
        if self.session_id is None:
            raise StaleMove("Nothing was asked yet, so there is nothing to stop.")
        await off_loop(cancelling.stop_open_turn, self.caller.tenant_id, self.session_id, now=timezone.now())

    async def _accept(self, frame: Frame) -> None:
        """Answer with the job as which the turn goes on; whoever reads the session again finds it in the turn."""
        turn_id = handshake.uuid_of(frame.turn, what="turn")
        await request_rates.take(self.caller, now=timezone.now())
        if self.caller.plan.day.is_limited:
            await off_loop(days.must_have_room, self.caller, now=timezone.now(), under_way=outstanding.under_way)
        found = await off_loop(offers.accept, self.caller, turn_id, now=timezone.now())
        told = {"turn": str(turn_id), "job": str(found.accepted.job_id), "endpoint": found.endpoint.label}
        await self._tell(EventType.OFFER_ACCEPTED, told)

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
            day=self.caller.plan.day,
            traceparent=traces.new(),
        )

    @property
    def _acts(self) -> Mapping[FrameType, Callable[[Frame], Awaitable[None]]]:
        return {FrameType.TURN: self._turn, FrameType.CANCEL: self._cancel, FrameType.ACCEPT: self._accept}

    @property
    def _is_following(self) -> bool:
        return self.follower is not None and not self.follower.done()

    def _follow(self, events: AsyncIterator[Event]) -> None:
        self.follower = asyncio.create_task(self._follow_or_close(events))

    async def _follow_or_close(self, events: AsyncIterator[Event]) -> None:
        """A stream that breaks off must not look like a silence: its reader is told, and may resume."""
        try:
            await self._send_all(events)
        except Exception:
            log.exception("stream_broke_off", session=str(self.session_id), seq=self.seq)
            await self._turn_away(StreamUnavailable("The stream broke off: connect again.", retry_after=chatting.RETRY_STREAM))

    async def _send_all(self, events: AsyncIterator[Event]) -> None:
        async with aclosing(events) as source, aclosing(gathered(source)) as each:  # type: ignore[type-var]
            async for event in each:
                self.seq = event.seq
                self.meter.saw(event)
                await self.send(text_data=event.as_bytes().decode())

    async def _stop_following(self) -> None:
        follower, self.follower = self.follower, None
        if follower is not None:
            follower.cancel()
            with suppress(asyncio.CancelledError):
                await follower

    def _beside(self, act: Any) -> None:
        task = asyncio.get_running_loop().create_task(act)
        self.others.add(task)
        task.add_done_callback(self.others.discard)

    def _watch(self) -> None:
        """Begin anew to count how long nothing is asked."""
        self._unwatch()
        self.idle = asyncio.get_running_loop().call_later(settings.IDLE_S, self._is_idle)

    def _unwatch(self) -> None:
        if self.idle is not None:
            self.idle.cancel()

    def _is_idle(self) -> None:
        if self.others or self._is_following:
            self._watch()
            return
        self._beside(self._turn_away(ConnectionIdle(f"Nothing was asked for {settings.IDLE_S:g} s.", limit_s=settings.IDLE_S)))

    async def _go_elsewhere(self) -> None:
        """Send the reader to another web process: it goes on behind the last seq that it was sent."""
        await self._stop_following()
        tallies.count(SENT_AWAY, self.endpoint.label, Line.WEBSOCKET)
        await self._tell(EventType.RECONNECT, {"retry_ms": COME_BACK_MS})
        await self.close(GO_ELSEWHERE)

    async def _ready(self) -> None:
        session = str(self.session_id) if self.session_id else None
        await self._tell(EventType.SESSION_READY, {"session": session, "endpoint": self.endpoint.label, "seq": self.seq})

    async def _turn_away(self, refusal: Refusal) -> None:
        await self._refuse(refusal)
        await self.close(refusals.close_code(refusal))

    async def _refuse(self, refusal: Refusal) -> None:
        if refusal.retryable:
            tallies.count(SHEDS, self.endpoint.label if hasattr(self, "endpoint") else connections.UNNAMED, refusal.code)
        await self._tell(EventType.ERROR, refusals.told(refusal))

    async def _tell(self, kind: EventType, told: Mapping[str, Any]) -> None:
        """Say something that is not stored: it carries the last seq."""
        await self.send(text_data=Event(self.seq, str(kind), timezone.now().isoformat(), dict(told)).as_bytes().decode())


class NoSuchAddress(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Closes what was opened where nothing is."""

    async def connect(self) -> None:
        await self.accept()
        await self.close(UNKNOWN)

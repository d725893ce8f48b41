"""Asking in a chat, for the connections that carry one: a turn opened, and a worker woken for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import redis.asyncio as redis

from invocation.domain.errors import StaleMove, StreamUnavailable
from invocation.gateways import dispatch, streams
from invocation.gateways.database import off_loop
from invocation.gateways.dispatch import BrokerGone
from invocation.models import Turn
from invocation.selectors.chat import owned_session
from invocation.services import cancelling, turns
from invocation.services.turns import Opened, Opening

RETRY_STREAM = timedelta(seconds=2)


async def ask(opening: Opening, *, now: datetime) -> Opened:
    """Open a turn and wake a p0 worker for it.

    Raises what open_turn raises, and StreamUnavailable when the stream store or the broker is
    gone: then no turn stays open.
    """
    await _must_stream()
    opened = await off_loop(turns.open_turn, opening, now=now)
    try:
        await off_loop(dispatch.wake_turns, [opened.turn_id], within_s=(opened.deadline - datetime.now(UTC)).total_seconds())
    except BrokerGone:
        refusal = _out_of_service("The broker")
        await off_loop(cancelling.withdraw, opened.turn_id, code=refusal.code, sentence=refusal.detail)
        raise refusal from None
    return opened


def stop(tenant_id: UUID, session_id: UUID, *, now: datetime) -> Turn:
    """Stop the session's open turn and return it. Raises NotFound, and StaleMove if none is open."""
    session = owned_session(tenant_id, session_id)
    turn = session.turns.filter(finished_at__isnull=True).first()
    if turn is None:
        raise StaleMove(f"No turn of session {session_id} is open.")
    cancelling.stop_turn(turn.pk, now=now)
    turn.refresh_from_db()
    return turn


async def _must_stream() -> None:
    try:
        await streams.hub().reader.ping()
    except (redis.RedisError, OSError):
        raise _out_of_service("The stream store") from None


def _out_of_service(what: str) -> StreamUnavailable:
    return StreamUnavailable(f"{what} cannot be reached. Nothing was started.", retry_after=RETRY_STREAM)

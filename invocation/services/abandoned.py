"""A reader has left an open turn: by the endpoint's policy it goes on, or it is stopped unless somebody follows it soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import StaleMove
from invocation.domain.sessions import OnDisconnect
from invocation.gateways import shared_counts, streams
from invocation.gateways.database import off_loop
from invocation.services import cancelling, departing

_waiting: set[asyncio.Task[None]] = set()


def left(endpoint: Endpoint, tenant_id: UUID, session_id: UUID) -> None:
    """Act on the policy and return at once. A process that leaves stops nothing: its readers come back elsewhere."""
    if departing.is_under_way():
        return
    task = asyncio.get_running_loop().create_task(_DONE[endpoint.on_disconnect](tenant_id, session_id))
    _waiting.add(task)
    task.add_done_callback(_waiting.discard)


async def _go_on(tenant_id: UUID, session_id: UUID) -> None:
    return


async def _stop_unless_followed(tenant_id: UUID, session_id: UUID) -> None:
    """Where nobody can say who follows, the turn goes on; so it does when this process dies meanwhile."""
    await asyncio.sleep(settings.COMES_BACK_S)
    try:
        followers = await shared_counts.listeners(streams.key(str(session_id)))
    except shared_counts.GONE:
        return
    if followers or departing.is_under_way():
        return
    with suppress(StaleMove):
        await off_loop(cancelling.stop_open_turn, tenant_id, session_id, now=timezone.now())


_DONE: Mapping[OnDisconnect, Callable[[UUID, UUID], Coroutine[Any, Any, None]]] = MappingProxyType(
    {OnDisconnect.CONTINUE: _go_on, OnDisconnect.CANCEL: _stop_unless_followed}
)

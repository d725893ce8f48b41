"""Senders for tests, and what receivers got of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from invocation.domain.destinations import ANYWHERE
from invocation.domain.webhooks import new_secret
from invocation.gateways.calling import Caller
from invocation.gateways.database import off_loop
from invocation.services import webhooks
from invocation.services.sending import Sender
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.webhooks.receivers import Behave, Heard, Receiver, receiving
from tests.integration.invocation.webhooks.rows import Kept, a_webhook, moved


@asynccontextmanager
async def sender() -> AsyncIterator[Sender]:
    caller = Caller(reach=ANYWHERE)
    try:
        yield Sender(caller)
    finally:
        await caller.aclose()


def utc() -> datetime:
    return datetime.now(UTC)


def end_jobs(kept: Kept, times: int = 1) -> None:
    webhooks.tell([moved(kept.row.tenant_id) for _ in range(times)], now=utc())


async def a_round(receiver: Receiver, *, times: int = 1, rotates: bool = False) -> Kept:
    """Tell a webhook at this receiver of so many jobs, and send until nothing is due."""
    kept: Kept = await off_loop(a_webhook, url=receiver.url, now=utc())
    if rotates:
        kept = replace(kept, fresh=await off_loop(webhooks.rotate, kept.row.pk, now=utc()))
    await off_loop(end_jobs, kept, times)
    async with sender() as sends:
        sends.wake()
        await sends.rest()
    return kept


def sent(on_loop: OnLoop[Any], *behaviours: Behave, times: int = 1, rotates: bool = False) -> tuple[Kept, Receiver]:
    async def story() -> tuple[Kept, Receiver]:
        async with receiving(*behaviours) as receiver:
            return await a_round(receiver, times=times, rotates=rotates), receiver

    found: tuple[Kept, Receiver] = on_loop(story())
    return found


def spoiled(heard: Heard, secret: str, part: str) -> tuple[Heard, str]:
    """Change one part of what was sent, or the secret that verifies it."""
    match part:
        case "body":
            return replace(heard, body=heard.body.replace(b"completed", b"cancelled")), secret
        case "id":
            return replace(heard, headers={**heard.headers, "webhook-id": heard.id[::-1]}), secret
        case "moment":
            later = str(int(heard.headers["webhook-timestamp"]) + 1)
            return replace(heard, headers={**heard.headers, "webhook-timestamp": later}), secret
        case _:
            return heard, new_secret()

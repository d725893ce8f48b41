"""Sending what is due: on the process's one loop, never in a transaction, until nothing is due any more."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from functools import cache

import structlog
from django.db import DatabaseError

from invocation.domain import webhooks
from invocation.domain.destinations import ANYWHERE
from invocation.domain.webhooks import Answer, CallFault, judge
from invocation.gateways import destinations
from invocation.gateways.calling import Caller
from invocation.gateways.database import off_loop
from invocation.gateways.sealing import SealBroken, unseal
from invocation.services import deliveries
from invocation.services.deliveries import Taken, Tried

log = structlog.get_logger()
LOOK_S = 1.0
"""While calls are under way, what became due meanwhile is looked for this often, and after each call."""


class Sender:
    """Takes, calls and settles. Its methods may be called on the loop only.

    A receiver that hangs keeps its own few places and nobody else's; no thread waits for it.
    """

    def __init__(self, caller: Caller, *, operators: Caller | None = None) -> None:
        self._caller = caller
        self._operators = operators or caller
        self._calls: set[asyncio.Task[Tried]] = set()
        self._unsettled: list[Tried] = []
        self._sending: asyncio.Task[None] | None = None
        self._is_leaving = False

    def wake(self) -> None:
        """Send what is due. A sender that is awake finds it by itself."""
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def rest(self) -> None:
        """Return when nothing is due and nothing under way."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def drain(self) -> None:
        """Take nothing more; return when the calls under way are settled."""
        self._is_leaving = True
        await self.rest()

    async def _send(self) -> None:
        """A database that is away loses no answer for as long as this process lives; what is never settled is sent again."""
        while True:
            try:
                await self._settle()
                taken = [] if self._is_leaving else await off_loop(deliveries.take, now=datetime.now(UTC))
            except DatabaseError as error:
                log.warning("deliveries_wait_for_the_database", error=str(error), unsettled=len(self._unsettled))
                await asyncio.sleep(LOOK_S)
                continue
            self._calls |= {asyncio.create_task(self._try(each)) for each in taken}
            if not self._calls:
                return
            await self._next_end()

    async def _next_end(self) -> None:
        done, self._calls = await asyncio.wait(self._calls, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        self._unsettled += [task.result() for task in done]

    async def _settle(self) -> None:
        settling = list(self._unsettled)
        await off_loop(deliveries.settle, settling, now=datetime.now(UTC))
        del self._unsettled[: len(settling)]

    async def _try(self, taken: Taken) -> Tried:
        at = datetime.now(UTC)
        answer = await self._answer(taken, at=at)
        verdict = judge(answer, tries=taken.tries, now=datetime.now(UTC), luck=random.random())  # noqa: S311  (jitter)
        return Tried(taken=taken, at=at, answer=answer, verdict=verdict)

    async def _answer(self, taken: Taken, *, at: datetime) -> Answer:
        """A defect of ours spoils this try, not the sender."""
        try:
            secrets = [unseal(sealed) for sealed in (taken.secret, taken.previous_secret) if sealed]
            body = taken.body.encode()
            headers = webhooks.headers(taken.id, body, secrets=secrets, now=at)
            caller = self._operators if taken.webhook_id == webhooks.OPERATORS else self._caller
            return await caller.post(taken.url, headers={"content-type": "application/json", **headers}, body=body)
        except SealBroken:
            log.error("webhook_secret_cannot_be_opened", webhook_id=str(taken.webhook_id))  # noqa: TRY400  (no trace is of use)
            return Answer(fault=CallFault.SEALED)
        except Exception:
            log.exception("delivery_broke_off", delivery_id=str(taken.id))
            return Answer(fault=CallFault.DEFECT)


@cache
def sender() -> Sender:
    """Return this process's sender, made at first need."""
    return Sender(Caller(reach=destinations.reach()), operators=Caller(reach=ANYWHERE))


def wake() -> None:
    """Send what is due; on the loop only."""
    sender().wake()

"""The two clients, with one surface: Gearbox answers, AsyncGearbox is awaited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from gearbox_client.account import Contexts, Contracts
from gearbox_client.batches import Batches
from gearbox_client.calls import Call, get, given, moment, place
from gearbox_client.chat import Chat
from gearbox_client.exchanges import Terms
from gearbox_client.groups import Group, W, exchange
from gearbox_client.jobs import Jobs
from gearbox_client.reading import reader
from gearbox_client.retrying import Reconnects, Retries
from gearbox_client.schedules import Schedules
from gearbox_client.values.account import Usage
from gearbox_client.webhooks import Webhooks
from gearbox_client.wire import AsyncWire, Wire

PATIENCE = timedelta(seconds=30)


class _Surface(Group[W]):
    """Every group of calls."""

    def __init__(self, wire: W) -> None:
        super().__init__(wire)
        self.jobs = Jobs(wire)
        self.chat = Chat(wire)
        self.batches = Batches(wire)
        self.schedules = Schedules(wire)
        self.webhooks = Webhooks(wire)
        self.contexts = Contexts(wire)
        self.endpoints = Contracts(wire)

    @exchange
    def usage(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        group_by: Sequence[str] | None = None,
        endpoint: str | None = None,
        mode: str | None = None,
        priority_class: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        cursor: str | None = None,
    ) -> Call[Usage]:
        """Return what was used, by day, endpoint, mode and model in the last thirty days if nothing is said.

        `group_by` takes any of day, endpoint, mode, priority_class, provider and model; the last five are filters, too.
        """
        only = given(endpoint=endpoint, mode=mode, priority_class=priority_class, provider=provider, model=model)
        by = ",".join(group_by) if group_by else None
        return get(place("usage"), reader(Usage), **only, since=moment(since), until=moment(until), group_by=by, cursor=cursor)


class Gearbox(_Surface[Wire]):
    """Calls one server with one key. Threads may share it. `patience` bounds the silence of one exchange."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        patience: timedelta = PATIENCE,
        retries: Retries = Retries(),  # noqa: B008  (frozen)
        reconnects: Reconnects = Reconnects(),  # noqa: B008
    ) -> None:
        super().__init__(Wire(Terms(base_url=base_url, key=key, patience=patience, retries=retries, reconnects=reconnects)))

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncGearbox(_Surface[AsyncWire]):
    """Calls one server with one key from one event loop. `patience` bounds the silence of one exchange."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        patience: timedelta = PATIENCE,
        retries: Retries = Retries(),  # noqa: B008  (frozen)
        reconnects: Reconnects = Reconnects(),  # noqa: B008
    ) -> None:
        super().__init__(AsyncWire(Terms(base_url=base_url, key=key, patience=patience, retries=retries, reconnects=reconnects)))

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

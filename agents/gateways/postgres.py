"""PostgreSQL from the event loop: one small pool of connections for each loop, opened at the first need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from weakref import WeakKeyDictionary

from django.db import connection
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

SMALLEST, LARGEST = 1, 4
PATIENCE_S = 5.0

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = WeakKeyDictionary()


async def fetch(sql: LiteralString, **values: Any) -> list[dict[str, Any]]:
    """Run one statement in its own transaction and return its rows, or none. Raises PoolTimeout after 5 s without a connection."""
    async with _connected() as opened:
        cursor = await opened.execute(sql, values)
        return await cursor.fetchall() if cursor.description else []


async def aclose() -> None:
    """Close this loop's pool; the next statement opens a new one."""
    pool = _pools.pop(asyncio.get_running_loop(), None)
    if pool is not None:
        await pool.close()


@asynccontextmanager
async def _connected() -> AsyncIterator[AsyncConnection[DictRow]]:
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = _pool()
    await pool.open()
    async with pool.connection() as opened:
        yield opened


def _pool() -> Pool:
    return AsyncConnectionPool(
        kwargs={**_parameters(), "row_factory": dict_row, "autocommit": True},
        connection_class=AsyncConnection[DictRow],
        min_size=SMALLEST,
        max_size=LARGEST,
        timeout=PATIENCE_S,
        open=False,
        name="agents",
    )


def _parameters() -> Mapping[str, Any]:
    """Return what Django connects with now: under test its name is the test database's."""
    given = connection.get_connection_params()
    return {name: value for name, value in given.items() if name not in {"cursor_factory", "context"}}

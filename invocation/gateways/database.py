"""Runs Django's blocking database work beside the event loop, on a few threads of its own; tells a lost database from an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT = DEFAULT_DB_ALIAS
BATCH: str = settings.BATCH_DATABASE
"""The database of batches and their ledger: the default one, unless a second was set."""

GOING = frozenset({"57P01", "57P02", "57P03"})
"""PostgreSQL's own words as it shuts down, crashed or starts; a connection that breaks has no word at all."""

AWAY_EVERY_S = 0.5
AWAY_TRIES = 60

_threads = ThreadPoolExecutor(max_workers=6, thread_name_prefix="database")


async def off_loop(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a service or selector on a database thread and give its connection back to the pool."""

    def call() -> T:
        try:
            return fn(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.get_running_loop().run_in_executor(_threads, call)


async def patiently(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As off_loop; while the database is away it is tried again, for half a minute: `fn` changes nothing the second time."""
    return await while_away(lambda: off_loop(fn, *args, **kwargs))


async def patiently_stored(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As patiently, for what reads or writes files as well: a store that is away or full is waited for as long as the database."""
    return await while_away(lambda: off_loop(fn, *args, **kwargs), waits=_is_out)


def _is_out(error: BaseException) -> bool:
    return isinstance(error, OSError) or is_away(error)


async def while_away(act: Callable[[], Awaitable[T]], *, waits: Callable[[BaseException], bool] | None = None) -> T:
    """Do it, and while the database is away, or `waits` says so of the error, again, for half a minute: the second time changes nothing."""
    is_out = waits or is_away
    for _ in range(AWAY_TRIES):
        try:
            return await act()
        except Exception as away:
            if not is_out(away):
                raise
            await asyncio.sleep(AWAY_EVERY_S)
    return await act()


def is_away(error: BaseException) -> bool:
    """Say whether the database could not be reached, rather than that it refused what was asked."""
    cause = error.__cause__ if isinstance(error, OperationalError | InterfaceError) else error
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return cause.sqlstate is None or cause.sqlstate in GOING or cause.sqlstate.startswith("08")

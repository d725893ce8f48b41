"""Whether this installation can serve: what it stands on, and who is there to work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

import redis
from django.db import DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor

from invocation.gateways import reach
from invocation.gateways.database import BATCH, DEFAULT
from invocation.selectors import depth
from invocation.services import departing

READY = "ready"


def check() -> Mapping[str, str]:
    """Return a word for each thing that the installation stands on: `ready`, or what is wrong with it."""
    checks: Mapping[str, Callable[[], str]] = {"database": _database, "migrations": _migrations, "redis": _redis, "process": _process}
    return {name: ask() for name, ask in checks.items()}


def workers(*, now: datetime) -> Mapping[str, int]:
    """Return the living worker processes of each class; empty while the database is away."""
    try:
        return {line.priority_class: line.processes for line in depth.slots(now=now)}
    except DatabaseError:
        return {}


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "out of reach"
    return READY


def _migrations() -> str:
    """Of both databases; while that of batches is away it has none: chats and jobs are served without it."""
    try:
        waiting = _to_come(DEFAULT)
    except DatabaseError:
        return "unknown"
    with suppress(DatabaseError):
        waiting += _to_come(BATCH) if BATCH != DEFAULT else 0
    return f"{waiting} not applied: run `manage.py migrate`" if waiting else READY


def _to_come(using: str) -> int:
    executor = MigrationExecutor(connections[using])
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _process() -> str:
    return "leaving" if departing.is_under_way() else READY


def _redis() -> str:
    try:
        reach.ping_redis()
    except redis.RedisError:
        return "out of reach"
    return READY

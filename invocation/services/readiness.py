"""Whether this installation can serve: what it stands on, and who is there to work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import redis
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from invocation.gateways import reach
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
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "unknown"
    return f"{len(waiting)} not applied: run `manage.py migrate`" if waiting else READY


def _process() -> str:
    return "leaving" if departing.is_under_way() else READY


def _redis() -> str:
    try:
        reach.ping_redis()
    except redis.RedisError:
        return "out of reach"
    return READY

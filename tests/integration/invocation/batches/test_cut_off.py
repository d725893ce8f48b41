"""A shard whose session with the database is cut while it commits goes on: what was called for is not thrown away."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import OperationalError

from invocation.domain.batches import BatchState
from invocation.gateways import database
from invocation.gateways.database import BATCH, off_loop
from invocation.gateways.presence import own_connection
from invocation.models import Batch
from invocation.services import batch_pauses, shards
from invocation.services.shard_engine import ShardEngine
from invocation.services.shard_runs import ROWS_READ_AT_ONCE
from tests.integration.invocation.batches.planned import LINES, Workers, opened, results
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
WAITS_FOR_US = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"


def test_a_checkpoint_whose_session_is_cut_is_made_again_and_no_row_runs_twice(on_loop: OnLoop[Any], workers: Workers) -> None:
    batch = opened([{**line, "wait": "cut"} for line in LINES], shards=1)
    shard = batch.shards.get()

    async def story() -> str:
        running = asyncio.create_task(ShardEngine(owner=uuid4()).run(shard.pk))
        await until(lambda: DONE["runs"] > 0)
        with own_connection(using=BATCH) as session, session.transaction():
            session.execute("SELECT FROM invocation_shard WHERE id = %s FOR UPDATE", [shard.pk])
            GATES["cut"].set()
            await until(lambda: session.execute(WAITS_FOR_US).fetchone() == (1,))
            session.execute(CUT)
        return await running

    assert on_loop(story()) == "completed"
    shard.refresh_from_db()
    assert (shard.state, shard.attempt, shard.position) == ("completed", 1, len(LINES))
    assert DONE["runs"] == len(LINES)
    workers.finish(batch)
    assert results(batch) == Counter(line["row_id"] for line in LINES)


@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.parametrize(
    ("move", "changed", "why"),
    [
        ("complete", False, "completed"),
        ("hand_back", False, "handed_back"),
        ("hand_back_changed", True, "manifest_changed"),
        ("hand_back_spent", False, "spent"),
    ],
)
def test_a_shard_whose_end_meets_a_database_that_is_away_is_not_charged(
    on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch, move: str, why: str, *, changed: bool, is_heard: bool
) -> None:
    """Neither where the move was not made, nor where it was and nobody heard."""
    cut_once(monkeypatch, move, behind=not is_heard)
    asks = {"model": "What is new?"} if move == "hand_back_spent" else {}
    batch = opened([{**line, "wait": "end", **asks} for line in LINES], shards=1, model_calls=20)
    if changed:
        path = Path(batch.manifest)
        path.write_bytes(path.read_bytes().replace(b"row 1", b"now 1"))

    async def story() -> str:
        engine = ShardEngine(owner=uuid4())
        running = asyncio.create_task(engine.run((await off_loop(batch.shards.get)).pk))
        if move == "hand_back":
            await until(lambda: DONE["runs"] > 0)
            draining = asyncio.create_task(engine.drain(timedelta(seconds=30)))
            await asyncio.sleep(0)
            GATES["end"].set()
            await draining
        GATES["end"].set()
        return await running

    assert on_loop(story()) == (why if is_heard else "stale")
    shard = batch.shards.get()
    assert (shard.owner, shard.failures, shard.lost_calls, shard.reserved_calls) == (None, 0, 0, 0)
    assert shard.state == ("completed" if move == "complete" else "queued")


def cut_once(monkeypatch: pytest.MonkeyPatch, move: str, *, behind: bool) -> None:
    """Let the session be lost once before a move, or behind its commit."""
    real, cuts = getattr(shards, move), iter([True])

    def cut(*given: Any, **terms: Any) -> None:
        is_cut = next(cuts, False)
        if behind or not is_cut:
            real(*given, **terms)
        if is_cut:
            raise OperationalError("server closed the connection") from psycopg.OperationalError("server closed the connection")

    monkeypatch.setattr(shards, move, cut)
    monkeypatch.setattr(database, "AWAY_EVERY_S", 0.01)


def test_rows_that_ran_when_their_manifest_was_changed_are_kept_and_run_once(on_loop: OnLoop[Any], workers: Workers, settings: Any) -> None:
    settings.ROWS_OF_A_SHARD = 100
    lines = [{"row_id": f"row-{number:03d}", "text": f"row {number}", "wait": "read"} for number in range(ROWS_READ_AT_ONCE + 40)]
    batch = opened(lines, shards=1)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.RUNNING)
    shard, path = batch.shards.get(), Path(batch.manifest)
    content = path.read_bytes()

    async def story() -> str:
        running = asyncio.create_task(ShardEngine(owner=uuid4()).run(shard.pk))
        await until(lambda: DONE["runs"] == settings.ROWS_OF_A_SHARD)
        await off_loop(path.write_bytes, content.replace(b"row 29", b"wor 29"))
        GATES["read"].set()
        return await running

    assert on_loop(story()) == "manifest_changed"
    shard.refresh_from_db()
    assert (shard.done, DONE["runs"]) == (ROWS_READ_AT_ONCE, ROWS_READ_AT_ONCE)

    path.write_bytes(content)
    batch_pauses.resume(batch.pk, now=datetime.now(UTC))
    assert results(workers.finish(batch)) == Counter(line["row_id"] for line in lines)
    assert DONE["runs"] == len(lines)

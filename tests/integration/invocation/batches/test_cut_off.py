"""A shard whose session with the database is cut while it commits goes on: what was called for is not thrown away."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from invocation.gateways.database import BATCH
from invocation.gateways.presence import own_connection
from invocation.services.shard_engine import ShardEngine
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

"""Outside of its window a batch waits with a reason, goes on by itself in the next one, and no other pause is lifted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from invocation.domain.batches import BatchState, Pause
from invocation.models import Batch, BatchRow
from invocation.services import batch_pauses, shard_runs, shards, waves
from invocation.services.shard_engine import ShardEngine
from tests.integration.invocation.batches.planned import LINES, Open, Workers, is_stopping, opened, results
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import NOW, a_process
from tests.integration.invocation.trial import DONE, GATES

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def around(moment: datetime, *, before: timedelta, after: timedelta) -> dict[str, str]:
    """Return a window from so long before a moment until so long after it; both may be behind it, or ahead."""
    return {"start": f"{moment + before:%H:%M}", "end": f"{moment + after:%H:%M}", "zone": "UTC"}


def windowed(window: dict[str, str] | None = None, **terms: Any) -> Batch:
    """Open a batch whose window, if none is told, is open for two hours around NOW."""
    batch = opened(**terms)
    Batch.objects.filter(pk=batch.pk).update(window=window or around(NOW, before=-HOUR, after=HOUR))
    batch.refresh_from_db()
    return batch


def state_of(batch: Batch) -> tuple[str, str]:
    batch.refresh_from_db()
    return batch.state, (batch.pause or {}).get("code", "")


@pytest.fixture(autouse=True)
def worker() -> None:
    a_process("p3", slots=16, lease=30 * DAY)


def test_a_batch_is_sent_in_its_window_only() -> None:
    windowed()

    assert waves.admit(now=NOW + 2 * HOUR) == 0
    assert waves.admit(now=NOW) == 4


def test_outside_it_waits_with_a_reason_and_goes_on_by_itself_in_the_next() -> None:
    batch = windowed()
    waves.admit(now=NOW)

    waves.sweep(now=NOW + 2 * HOUR)
    assert state_of(batch) == ("paused", "window")
    assert batch.pause
    assert "the next opens at" in batch.pause["sentence"]
    waves.sweep(now=NOW + 3 * HOUR)
    assert state_of(batch) == ("paused", "window")

    assert waves.sweep(now=NOW + DAY) == 4
    assert state_of(batch) == ("running", "")
    assert batch.running_since == NOW + DAY
    assert batch.started_at == NOW


def test_one_that_never_began_waits_and_begins() -> None:
    batch = windowed(around(NOW, before=HOUR, after=2 * HOUR))
    waves.sweep(now=NOW)
    assert state_of(batch) == ("paused", "window")

    assert waves.sweep(now=NOW + HOUR) == 4
    assert state_of(batch) == ("running", "")
    assert batch.started_at == NOW + HOUR


@pytest.mark.parametrize("code", [code for code in Pause if code != Pause.WINDOW])
def test_a_window_lifts_no_other_pause(code: Pause) -> None:
    batch = windowed()
    waves.admit(now=NOW)
    batch_pauses.pause(batch.pk, code, "An operator said so.", now=NOW)

    for hours in (2, 24, 26, 48):
        waves.sweep(now=NOW + hours * HOUR)
        assert state_of(batch) == ("paused", str(code))


def test_asked_for_while_it_waits_for_its_window_it_stays_paused_in_it() -> None:
    batch = windowed()
    waves.sweep(now=NOW + 2 * HOUR)
    batch_pauses.pause(batch.pk, Pause.ASKED, "Not tonight.", now=NOW + 2 * HOUR)

    waves.sweep(now=NOW + DAY)
    assert state_of(batch) == ("paused", "asked")
    batch_pauses.resume(batch.pk, now=NOW + DAY)
    assert state_of(batch) == ("running", "")


def test_resumed_outside_of_its_window_it_waits_for_that() -> None:
    batch = windowed()
    waves.admit(now=NOW)
    batch_pauses.pause(batch.pk, Pause.ASKED, "Not now.", now=NOW)

    batch_pauses.resume(batch.pk, now=NOW + 2 * HOUR)
    assert state_of(batch) == ("paused", "window")
    waves.sweep(now=NOW + DAY)
    assert state_of(batch) == ("running", "")


def test_a_batch_whose_rows_are_done_does_not_wait_to_be_gathered() -> None:
    batch = windowed()
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.RUNNING)
    batch.shards.update(state="completed", finished_at=NOW)

    waves.sweep(now=NOW + 2 * HOUR)
    assert state_of(batch) == ("running", "")


def test_one_whose_last_row_ended_after_its_window_is_gathered_in_the_next() -> None:
    batch = windowed()
    waves.admit(now=NOW)
    waves.sweep(now=NOW + 2 * HOUR)
    batch.shards.update(state="completed", finished_at=NOW)

    waves.sweep(now=NOW + DAY)
    assert state_of(batch) == ("running", "")


def test_a_shard_whose_message_was_on_its_way_waits() -> None:
    real = datetime.now(UTC)
    batch = windowed(around(real, before=2 * HOUR, after=4 * HOUR))
    shard = batch.shards.first()
    assert shard is not None

    assert shards.claim(shard.pk, owner=uuid4()) is None
    Batch.objects.filter(pk=batch.pk).update(window=around(real, before=-2 * HOUR, after=2 * HOUR))
    assert shards.claim(shard.pk, owner=uuid4()) is not None


def test_running_rows_end_and_are_kept_when_the_window_closes(
    on_loop: OnLoop[Any], workers: Workers, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_runs, "LOOK_S", 0.02)
    settings.ROWS_OF_A_SHARD = 16
    real = datetime.now(UTC)
    batch = windowed(around(real, before=-2 * HOUR, after=2 * HOUR), lines=[{**line, "wait": "open"} for line in LINES], shards=1)
    shard = batch.shards.get()
    engine = ShardEngine(owner=uuid4())

    async def story() -> str:
        running = asyncio.create_task(engine.run(shard.pk))
        await until(lambda: DONE["runs"] > 0)
        work = engine._running[str(shard.pk)]
        assert work
        work.batch.window = around(real, before=2 * HOUR, after=4 * HOUR)
        await until(lambda: is_stopping(engine))
        GATES["open"].set()
        return await running

    assert on_loop(story()) == "held"
    shard.refresh_from_db()
    kept = shard.done
    assert shard.state == "queued"
    assert 0 < kept < len(LINES)
    assert BatchRow.objects.filter(batch=batch).exclude(error_code="").count() == 0

    GATES["open"] = Open()  # type: ignore[assignment]
    workers.finish(batch)
    assert set(results(batch).values()) == {1}
    assert len(results(batch)) == len(LINES)

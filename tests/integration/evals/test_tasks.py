"""A tick scores what finished and wakes a p3 worker for completed batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.utils import timezone
from kombu import Queue

from config.celery import QUEUES, app
from evals import tasks
from evals.gateways import dispatch
from evals.models import BatchScoring, Score
from evals.services import batch_scoring
from invocation.services import datasets
from tests.integration.evals.conftest import finish
from tests.integration.evals.test_batch_scoring import complete, row

pytestmark = pytest.mark.usefixtures("probed")


def test_the_tasks_are_registered_under_the_names_that_wake_them() -> None:
    assert tasks.consume.name == dispatch.CONSUME
    assert tasks.score_batch.name == dispatch.SCORE_BATCH
    assert {dispatch.CONSUME, dispatch.SCORE_BATCH} <= set(app.tasks)


def test_beat_ticks_the_evals_on_the_control_queue() -> None:
    entry = next(entry for entry in app.conf.beat_schedule.values() if entry["task"] == dispatch.CONSUME)
    assert entry["options"]["queue"] == "control"
    assert "p3" in QUEUES


def test_a_tick_scores_runs_and_hands_batches_to_p3(db: None, p3: Queue, tmp_path: Path) -> None:
    run_id = finish()
    batch_id = complete(tmp_path, [row(0), row(1)])

    tasks.consume()
    assert [score.run_id for score in Score.objects.all()] == [run_id]

    message = p3.get(no_ack=True)
    assert message is not None
    tasks.score_batch(*message.decode()[0])
    assert Score.objects.filter(mode="batch-window").count() == 2
    assert BatchScoring.objects.get().batch_id == batch_id


def test_a_process_scores_one_batch_at_a_time_and_puts_others_off(
    transactional_db: None, p3: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (complete(tmp_path / name, [row(0)]) for name in ("first", "second"))
    is_reading, may_end = threading.Event(), threading.Event()
    real = datasets.rows

    def slowly(batch_id: UUID) -> Iterator[Mapping[str, Any]]:
        is_reading.set()
        assert may_end.wait(20)
        return real(batch_id)

    monkeypatch.setattr(datasets, "rows", slowly)
    batch_scoring.accept(now=timezone.now())
    with ThreadPoolExecutor(1) as beside:
        scored = beside.submit(_scored, first)
        assert is_reading.wait(20)
        before = timezone.now()
        tasks.score_batch(str(second))
        put_off = BatchScoring.objects.get(pk=second)
        may_end.set()
        scored.result()

    assert (put_off.tries, put_off.finished_at) == (0, None)
    assert before < put_off.due_at < before + batch_scoring.PATIENCE
    tasks.score_batch(str(second))
    assert BatchScoring.objects.filter(finished_at__isnull=False).count() == 2


def _scored(batch_id: UUID) -> None:
    try:
        tasks.score_batch(str(batch_id))
    finally:
        connections.close_all()

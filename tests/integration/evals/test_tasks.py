"""A tick scores what finished and wakes a p3 worker for completed batches."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu import Queue

from config.celery import QUEUES, app
from evals import tasks
from evals.gateways import dispatch
from evals.models import BatchScoring, Score
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

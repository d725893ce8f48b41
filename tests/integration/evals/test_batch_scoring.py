"""A completed batch is scored offline, row by row, once, whatever happens to the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from kombu import Queue

from agents.domain import registry
from evals import selectors
from evals.gateways import dispatch
from evals.models import Baseline, BatchScoring, SamplingShare, Score, Unscored
from evals.services import batch_scoring, verdicts
from invocation.domain.batches import BatchState, Publication
from invocation.models import Batch, Outbox
from invocation.services import batches, datasets, publishing
from invocation.services.batches import COMPLETED_TOPIC
from invocation.services.publishing import Piece
from tests.integration.evals.conftest import NOW, PROBE, TENANT, evidence

pytestmark = pytest.mark.usefixtures("probed")
LATER = NOW + batch_scoring.PATIENCE


def row(number: int, *, error: str = "", worth: Any = 0.5, **changed: Any) -> dict[str, Any]:
    told = evidence(worth)
    return {
        "row_id": str(number),
        "text": told["output"]["text"],
        **{part: json.dumps(told[part]) for part in ("input", "facts", "output")},
        "error_code": error,
        "error": error,
        "run_id": str(uuid4()),
        "finished_at": NOW,
        **changed,
    }


def complete(folder: Path, rows: Sequence[Mapping[str, Any]]) -> UUID:
    """Put a completed batch, its dataset and its event where the product puts them."""
    batch = Batch.objects.create(
        tenant_id=TENANT,
        endpoint="probe@1",
        agent=PROBE,
        mode="batch-window",
        traceparent="",
        state=BatchState.COMPLETED,
        manifest="",
        manifest_sha256="",
        output=str(folder),
        rows=len(rows),
        cost_cap_usd=1,
        token_cap=1_000_000,
        call_cap=1_000,
        row_latency_ms=1_000,
        created_at=NOW,
        finished_at=NOW,
    )
    names = {name for row in rows for name in row}
    part = datasets.write_part(batch, "shard=00000/part.parquet", {name: [row.get(name) for row in rows] for name in names})
    publishing.publish_pieces(batch, [Piece(shard=0, parts=[part], rows=len(rows))])
    told = {"batch_id": str(batch.id), "agent": batch.agent, "mode": batch.mode, "endpoint": batch.endpoint}
    Outbox.objects.create(topic=COMPLETED_TOPIC, run_id=batch.id, data=told, at=NOW)
    return batch.id


def test_every_result_row_of_a_completed_batch_is_scored(db: None, tmp_path: Path) -> None:
    rows = [row(number, worth=number / 10) for number in range(10)]
    batch_id = complete(tmp_path, [*rows, row(10, error="unknown_title", output=None, facts=None)])

    assert batch_scoring.accept(now=NOW) == 1
    assert batch_scoring.score_batch(batch_id, now=NOW) == 10

    assert {str(score.run_id) for score in Score.objects.all()} == {each["run_id"] for each in rows}
    score = Score.objects.get(run_id=rows[3]["run_id"])
    assert (score.tenant_id, score.endpoint, score.agent, score.mode) == (TENANT, "probe@1", PROBE, "batch-window")
    assert score.criteria == {"worth": 0.3, "asked": 1.0}
    finished = BatchScoring.objects.get()
    assert (finished.rows, finished.finished_at) == (10, NOW)
    assert not Outbox.objects.exists()


def test_a_row_that_cannot_be_judged_stops_no_other(db: None, tmp_path: Path) -> None:
    bad = [row(0, worth="worthless"), row(1, facts="not json"), row(2, output=json.dumps({"text": "\0", "worth": "\0"}))]
    batch_id = complete(tmp_path, [*bad, row(3), row(4, output=json.dumps({"text": "a\0b", "worth": 1}))])
    batch_scoring.accept(now=NOW)

    assert batch_scoring.score_batch(batch_id, now=NOW) == 5
    assert {str(unscored.run_id) for unscored in Unscored.objects.all()} == {each["run_id"] for each in bad}
    assert sorted(Score.objects.values_list("excerpt", flat=True)) == ["A new title.", "ab"]


def test_a_scoring_that_was_cut_off_goes_on_and_scores_no_row_twice(db: None, tmp_path: Path) -> None:
    rows = [row(number) for number in range(6)]
    batch_id = complete(tmp_path, rows)
    batch_scoring.accept(now=NOW)
    batch_scoring.score_batch(batch_id, now=NOW)
    Score.objects.filter(run_id=rows[5]["run_id"]).delete()
    BatchScoring.objects.update(rows=None, finished_at=None)

    assert batch_scoring.score_batch(batch_id, now=LATER) == 6
    assert Score.objects.count() == 6
    assert Score.objects.filter(at=LATER).count() == 1


def test_a_finished_scoring_does_nothing_again(db: None, tmp_path: Path) -> None:
    batch_id = complete(tmp_path, [row(0)])
    batch_scoring.accept(now=NOW)
    batch_scoring.score_batch(batch_id, now=NOW)
    Score.objects.all().delete()

    assert batch_scoring.score_batch(batch_id, now=NOW) == 0
    assert batch_scoring.score_batch(uuid4(), now=NOW) == 0
    assert not Score.objects.exists()


def test_a_batch_that_is_told_twice_is_accepted_once(db: None, tmp_path: Path) -> None:
    batch_id = complete(tmp_path, [row(0)])
    batch_scoring.accept(now=NOW)
    told = {"agent": PROBE, "mode": "batch-window", "endpoint": "probe@1"}
    Outbox.objects.create(topic=COMPLETED_TOPIC, run_id=batch_id, data=told, at=NOW)

    batch_scoring.accept(now=NOW)
    assert BatchScoring.objects.count() == 1


def test_an_event_that_says_nothing_is_passed_over(db: None, tmp_path: Path) -> None:
    Outbox.objects.create(topic=COMPLETED_TOPIC, run_id=uuid4(), data=["nothing"], at=NOW)
    complete(tmp_path, [row(0)])

    assert batch_scoring.accept(now=NOW) == 2
    assert BatchScoring.objects.count() == 1
    assert not Outbox.objects.exists()


def test_a_dataset_that_cannot_be_read_is_tried_three_times(db: None, tmp_path: Path) -> None:
    batch_id = complete(tmp_path / "dataset", [row(0)])
    batch_scoring.accept(now=NOW)
    Batch.objects.update(output=str(tmp_path / "gone"))

    for attempt in range(batch_scoring.MOST_TRIES):
        with pytest.raises(FileNotFoundError):
            batch_scoring.score_batch(batch_id, now=NOW + attempt * batch_scoring.PATIENCE)

    assert batch_scoring.score_batch(batch_id, now=NOW + timedelta(days=1)) == 0
    assert batch_scoring.wake(now=NOW + timedelta(days=1)) == 0


def test_a_batch_is_woken_on_p3_and_again_only_after_a_while(db: None, p3: Queue, tmp_path: Path) -> None:
    complete(tmp_path, [row(0)])
    batch_scoring.accept(now=NOW)

    assert batch_scoring.wake(now=NOW) == 1
    assert batch_scoring.wake(now=LATER - timedelta(seconds=1)) == 0
    assert batch_scoring.wake(now=LATER) == 1

    sent = [p3.get(no_ack=True) for _ in range(3)]
    assert [message and message.headers["task"] for message in sent] == [dispatch.SCORE_BATCH, dispatch.SCORE_BATCH, None]


def test_a_large_dataset_is_stored_in_pages(db: None, tmp_path: Path) -> None:
    batch_id = complete(tmp_path, [row(number) for number in range(1_201)])
    batch_scoring.accept(now=NOW)

    with CaptureQueriesContext(connection) as queries:
        assert batch_scoring.score_batch(batch_id, now=NOW) == 1_201

    stored = [query for query in queries if 'INSERT INTO "evals_score"' in query["sql"]]
    assert len(stored) == 3
    assert Score.objects.count() == 1_201


def test_the_database_keeps_rows_and_finish_together(db: None, tmp_path: Path) -> None:
    complete(tmp_path, [row(0)])
    batch_scoring.accept(now=NOW)
    with pytest.raises(IntegrityError, match="batch_scoring_knows_its_rows_when_finished"):
        BatchScoring.objects.update(finished_at=NOW)


@pytest.fixture
def baseline(db: None) -> Baseline:
    return Baseline.objects.create(
        agent="probe",
        rubric=registry.find("probe", 3).rubric.name,
        mode="batch-window",
        expected=0.6,
        origin="accepted",
        accepted_by="kim",
        at=NOW,
    )


def scored(folder: Path, *worths: float) -> Batch:
    """Complete a batch of rows worth so much, and score it."""
    batch_id = complete(folder, [row(number, worth=worth) for number, worth in enumerate(worths)])
    assert Batch.objects.get().publication == ""
    batch_scoring.accept(now=NOW)
    batch_scoring.score_batch(batch_id, now=NOW)
    return Batch.objects.get()


@pytest.mark.parametrize(("worths", "publication"), [((0.2, 0.4), "held"), ((0.4, 1.0), "published")])
def test_a_batch_whose_scores_hold_is_published_and_another_held(
    baseline: Baseline, tmp_path: Path, worths: tuple[float, ...], publication: str
) -> None:
    batch = scored(tmp_path, *worths)
    mean = sum(score.total for score in Score.objects.all()) / len(worths)

    assert (batch.state, batch.publication) == ("completed", publication)
    assert batch.scores == {
        "sentence": f"Scored {mean:.4f} where 0.6000 is expected.",
        "rows": 2,
        "mean": pytest.approx(mean),
        "expected": 0.6,
        "at": NOW.isoformat(),
    }


@pytest.mark.parametrize("origin", ["imported", "proposed", None])
def test_without_an_accepted_baseline_a_batch_stays_completed_and_says_so(baseline: Baseline, tmp_path: Path, origin: str | None) -> None:
    if origin is None:
        baseline.delete()
    else:
        Baseline.objects.filter(pk=baseline.pk).update(origin=origin, accepted_by="")
    batch = scored(tmp_path, 1.0)

    assert (batch.state, batch.publication) == ("completed", "")
    assert batch.scores
    assert "There is no accepted baseline of probe" in batch.scores["sentence"]
    assert batch.scores["expected"] is None


def test_where_no_row_was_scored_nothing_is_published(baseline: Baseline, tmp_path: Path) -> None:
    SamplingShare.objects.create(mode="batch-window", share=0)
    batch = scored(tmp_path, 1.0)

    assert batch.publication == ""
    assert batch.scores
    assert batch.scores["sentence"] == "No row was scored."


def test_a_scoring_that_was_cut_off_judges_the_whole_batch(baseline: Baseline, tmp_path: Path) -> None:
    """The first row was scored before: alone, the second would hold the batch."""
    rows = [row(0, worth=1.0), row(1, worth=0.4)]
    batch_id = complete(tmp_path, rows)
    batch_scoring.accept(now=NOW)
    candidate = batch_scoring._candidate(BatchScoring.objects.get(), rows[0])
    verdicts.write([candidate], shares=selectors.shares(), now=NOW)

    batch_scoring.score_batch(batch_id, now=NOW)
    assert Batch.objects.get().publication == "published"


def test_a_batch_whose_failed_rows_ran_again_is_judged_again(baseline: Baseline, tmp_path: Path) -> None:
    batch = scored(tmp_path, 1.0)
    assert batch.publication == "published"
    Batch.objects.update(round=1, publication="", scores=None)
    Outbox.objects.create(topic=COMPLETED_TOPIC, run_id=batch.pk, data={**named(batch), "round": 1}, at=LATER)
    Outbox.objects.create(topic=COMPLETED_TOPIC, run_id=batch.pk, data={**named(batch), "round": 0}, at=LATER)

    batch_scoring.accept(now=LATER)
    assert BatchScoring.objects.get().finished_at is None
    assert batch_scoring.score_batch(batch.pk, now=LATER) == 1
    batch.refresh_from_db()
    assert (batch.publication, Score.objects.count()) == ("published", 1)


def test_scores_of_an_earlier_round_publish_nothing(baseline: Baseline, tmp_path: Path) -> None:
    batch_id = complete(tmp_path, [row(0, worth=1.0)])
    batch_scoring.accept(now=NOW)
    Batch.objects.update(state="running", round=1, finished_at=None)

    batch_scoring.score_batch(batch_id, now=NOW)
    assert (Batch.objects.get().publication, Batch.objects.get().scores) == ("", None)
    Batch.objects.update(state="completed", finished_at=NOW)
    assert not batches.publish(batch_id, Publication.PUBLISHED, round=0, scores={})


def named(batch: Batch) -> dict[str, str]:
    return {"batch_id": str(batch.pk), "agent": batch.agent, "mode": batch.mode, "endpoint": batch.endpoint}

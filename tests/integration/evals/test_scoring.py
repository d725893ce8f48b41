"""Finished runs become scores: once each, whoever consumes them and whatever else is in the outbox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid5

import pytest
from django.db import IntegrityError, connection, connections, transaction

from evals.models import SamplingShare, Score, Unscored
from evals.services import scoring
from invocation.domain.modes import Mode
from invocation.models import Outbox
from tests.integration.evals.conftest import NOW, PROBE, TENANT, evidence, finish, scored

SPACE = UUID("5b7c2f0e-6d1a-4c39-9d57-2f1f3f9b8a10")
pytestmark = pytest.mark.usefixtures("probed")


def test_a_finished_run_is_scored_by_its_agents_rubric(db: None) -> None:
    run_id = finish(evidence(0.6))

    assert scoring.consume(now=NOW) == 1

    score = Score.objects.get()
    assert (score.run_id, score.tenant_id, score.endpoint) == (run_id, TENANT, "probe@1")
    assert (score.agent, score.mode) == (PROBE, "scheduled-trigger")
    assert (score.rubric, score.rubric_version, score.at) == ("worth", 2, NOW)
    assert score.total == pytest.approx(0.7)
    assert score.criteria == {"worth": 0.6, "asked": 1.0}
    assert score.excerpt == "A new title."


def test_what_was_consumed_is_gone_from_the_outbox(db: None) -> None:
    finish()
    scoring.consume(now=NOW)
    assert not Outbox.objects.exists()
    assert scoring.consume(now=NOW) == 0


def test_a_run_that_is_told_twice_is_scored_once(db: None) -> None:
    run_id = finish(evidence(0.4))
    scoring.consume(now=NOW)
    finish(evidence(0.9), run_id=run_id, tenant_id=None)

    assert scoring.consume(now=NOW) == 1
    assert [score.criteria["worth"] for score in Score.objects.all()] == [0.4]
    assert not Outbox.objects.exists()


@pytest.mark.parametrize(
    "bad",
    [
        evidence("worthless"),
        evidence(7),
        evidence(agent="nobody@1"),
        evidence(agent="probe"),
        evidence(agent=None),
        evidence(mode="by-pigeon"),
        evidence(facts="not json"),
        evidence(output=["a", "list"]),
        {},
        [],
        "a word",
        None,
    ],
    ids=str,
)
def test_a_run_that_cannot_be_judged_is_on_record_and_stops_no_other(db: None, bad: Any) -> None:
    finish(evidence(0.1))
    broken = finish([] if bad is None else bad)
    finish(evidence(0.2))

    assert scoring.consume(now=NOW) == 3

    assert sorted(score.criteria["worth"] for score in Score.objects.all()) == [0.1, 0.2]
    unscored = Unscored.objects.get()
    assert (unscored.run_id, unscored.tenant_id, unscored.at) == (broken, TENANT, NOW)
    assert unscored.reason
    assert not Outbox.objects.exists()


def test_a_long_answer_is_kept_as_an_excerpt(db: None) -> None:
    finish(evidence(output={"text": "x" * 5_000, "worth": 1}))
    scoring.consume(now=NOW)
    assert Score.objects.get().excerpt == "x" * 2_000


def test_a_run_that_is_no_longer_on_record_is_scored_for_nobody(db: None) -> None:
    finish(tenant_id=None)
    scoring.consume(now=NOW)
    assert Score.objects.get().tenant_id is None


@pytest.mark.parametrize(
    ("mode", "fewest", "most"), [("streaming-sync", 1, 40), ("async-queue", 40, 110), ("scheduled-trigger", 1_500, 1_500)]
)
def test_each_mode_is_sampled_by_its_own_share(db: None, mode: str, fewest: int, most: int) -> None:
    for number in range(1_500):
        finish(evidence(mode=mode), run_id=uuid5(SPACE, str(number)), tenant_id=None)

    assert scoring.consume_all(now=NOW) == 1_500
    assert fewest <= Score.objects.filter(mode=mode).count() <= most
    assert not Unscored.objects.exists()


def test_an_operators_share_goes_before_the_mode_tables(db: None) -> None:
    SamplingShare.objects.create(mode=Mode.STREAMING_SYNC, share=1.0)
    SamplingShare.objects.create(mode=Mode.SCHEDULED_TRIGGER, share=0.0)
    finish(evidence(mode="streaming-sync"))
    finish(evidence(mode="scheduled-trigger"))

    scoring.consume(now=NOW)

    assert [score.mode for score in Score.objects.all()] == ["streaming-sync"]


def test_consumers_take_no_more_than_they_were_told_to(db: None) -> None:
    for _ in range(5):
        finish()
    assert scoring.consume(now=NOW, most=3) == 3
    assert Outbox.objects.count() == 2
    assert scoring.consume_all(now=NOW) == 2


def test_two_consumers_at_once_score_each_run_once(transactional_db: None) -> None:
    runs = {finish(tenant_id=None) for _ in range(300)}
    start = Barrier(2)

    def drain() -> int:
        start.wait()
        try:
            return sum(iter(lambda: scoring.consume(now=NOW, most=10), 0))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        taken = [each.result() for each in [threads.submit(drain) for _ in range(2)]]

    assert sum(taken) == 300
    assert {score.run_id for score in Score.objects.all()} == runs
    assert not Outbox.objects.exists()


def test_what_another_consumer_holds_is_passed_over_and_comes_back_if_it_fails(transactional_db: None) -> None:
    finish()

    def look() -> int:
        try:
            return scoring.consume(now=NOW)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as other, transaction.atomic():
        list(Outbox.objects.select_for_update())
        assert other.submit(look).result(timeout=20) == 0
    assert scoring.consume(now=NOW) == 1


def test_runs_stay_in_the_outbox_while_scores_cannot_be_stored(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE evals_score ADD CONSTRAINT the_disk_is_full CHECK (false) NOT VALID")
    run_id = finish()

    with pytest.raises(IntegrityError, match="the_disk_is_full"):
        scoring.consume(now=NOW)
    assert Outbox.objects.get().run_id == run_id


@pytest.mark.parametrize("total", [-0.01, 1.01])
def test_the_database_refuses_a_score_outside_of_zero_to_one(db: None, total: float) -> None:
    with pytest.raises(IntegrityError, match="score_is_0_to_1"):
        scored(total)

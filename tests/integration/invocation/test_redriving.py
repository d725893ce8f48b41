"""One dead letter started again: what the new job takes over, who is refused, and what an edit changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from invocation.domain.errors import AgentVersionGone, BodyTooLarge, DeadLetterDiscarded, EndpointRetired, InputInvalid, StaleMove
from invocation.domain.jobs import JobState
from invocation.domain.redrives import AgentChoice, Edit
from invocation.gateways import declared
from invocation.gateways.presence import own_connection
from invocation.models import Job
from invocation.selectors.jobs import owned_job
from invocation.services import discards, redriving
from tests.integration.invocation.conftest import LIMIT_S, LOOK_S
from tests.integration.invocation.records import a_dead_letter
from tests.integration.invocation.rows import NOW, a_job, snapshot, told

LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def retired(settings: Any) -> Iterator[None]:
    """Declare a retired endpoint beside the installation's own."""
    settings.ENDPOINT_MODULES = (*settings.ENDPOINT_MODULES, "tests.integration.invocation.api.more_endpoints")
    declared.book.cache_clear()
    yield
    declared.book.cache_clear()


def test_a_redrive_is_a_new_job_and_the_old_stays_failed_and_names_it(db: None) -> None:
    failed = a_job(JobState.FAILED, subject="r-001", metadata={"a": "b"}, ordering_key="lane", idempotency_key="k-1", failures=3)
    before = snapshot(failed)
    accepted = redriving.redrive(failed.pk, now=LATER)
    fresh = Job.objects.get(pk=accepted.job_id)

    assert snapshot(failed) == before
    assert owned_job(failed.tenant_id, failed.pk).successor == fresh
    assert (fresh.redrive_of_id, fresh.state, fresh.attempt, fresh.failures, fresh.idempotency_key) == (failed.pk, "queued", 0, 0, None)
    assert (fresh.input, fresh.subject, fresh.metadata, fresh.ordering_key) == (failed.input, "r-001", {"a": "b"}, "lane")
    assert fresh.cost_cap_usd == failed.cost_cap_usd
    assert told(fresh) == [(1, "job.queued")]


def test_a_redrive_may_bring_an_edited_input_which_is_checked(db: None) -> None:
    failed = a_job(JobState.FAILED)
    with pytest.raises(InputInvalid) as refused:
        redriving.redrive(failed.pk, now=LATER, edit=Edit(input={"text": 7}))
    accepted = redriving.redrive(failed.pk, now=LATER, edit=Edit(input={"text": "better"}))

    assert refused.value.facts["field"] == "/input/text"
    assert Job.objects.get(pk=accepted.job_id).input == {"text": "better"}


def test_a_job_is_redriven_once(db: None) -> None:
    failed = a_job(JobState.FAILED)
    first = redriving.redrive(failed.pk, now=LATER)
    with pytest.raises(StaleMove, match=str(first.job_id)):
        redriving.redrive(failed.pk, now=LATER)

    assert Job.objects.count() == 2


def test_redrives_that_race_make_one_job(transactional_db: None) -> None:
    failed = a_job(JobState.FAILED)

    def racing(_: int) -> UUID | None:
        try:
            return redriving.redrive(failed.pk, now=LATER).job_id
        except StaleMove:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=failed.pk)
            begun = [pool.submit(racing, number) for number in range(3)]
            _wait_for_blocked(3)
        made = [each.result(20) for each in begun]

    assert made.count(None) == 2
    assert Job.objects.count() == 2


def _wait_for_blocked(count: int) -> None:
    """Return when so many sessions wait for a lock; asked outside the transaction, which would see one moment only."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = time.monotonic() + LIMIT_S
    with own_connection() as asking:
        while (asking.execute(waiting).fetchone() or (0,))[0] < count:
            assert time.monotonic() < end, "nobody waited for the lock"
            time.sleep(LOOK_S)


def test_the_database_lets_a_job_have_one_successor(db: None) -> None:
    failed = a_job(JobState.FAILED)
    a_job(redrive_of=failed)
    with pytest.raises(IntegrityError), transaction.atomic():
        a_job(redrive_of=failed)


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.FAILED])
def test_only_a_failed_job_can_be_redriven(db: None, state: JobState) -> None:
    job = a_job(state)
    with pytest.raises(StaleMove, match="only a failed job"):
        redriving.redrive(job.pk, now=LATER)

    assert Job.objects.count() == 1


def test_a_redriven_job_runs_the_agent_version_of_the_old_one_unless_asked_otherwise(tried: None, db: None) -> None:
    pinned, moved_on = (a_dead_letter(agent="trial@1") for _ in range(2))
    same = redriving.redrive(pinned.pk, now=LATER)
    current = redriving.redrive(moved_on.pk, now=LATER, edit=Edit(agent=AgentChoice.CURRENT))

    assert [Job.objects.get(pk=each.job_id).agent for each in (same, current)] == ["trial@1", "mangaassist@1"]


def test_a_redriven_job_goes_through_the_class_of_the_old_one_and_tells_the_same_webhook(db: None) -> None:
    webhook = uuid4()
    dead = a_dead_letter(webhook_id=webhook, context_key="cart", context_version=3, relevance="withhold")
    fresh = Job.objects.get(pk=redriving.redrive(dead.pk, now=LATER).job_id)

    assert (fresh.priority_class, fresh.mode, fresh.webhook_id) == (dead.priority_class, dead.mode, webhook)
    assert (fresh.context_key, fresh.context_version, fresh.relevance) == ("cart", 3, "withhold")


def test_a_job_whose_agent_version_is_gone_is_refused(db: None) -> None:
    dead = a_dead_letter(agent="mangaassist@99")
    with pytest.raises(AgentVersionGone, match="mangaassist@99"):
        redriving.redrive(dead.pk, now=LATER)

    assert not Job.objects.filter(redrive_of=dead.pk).exists()


def test_a_job_of_a_retired_endpoint_is_refused(retired: None, db: None) -> None:
    dead = a_dead_letter(endpoint="old@1")
    with pytest.raises(EndpointRetired):
        redriving.redrive(dead.pk, now=LATER)


def test_a_discarded_dead_letter_is_refused_and_says_why(db: None) -> None:
    dead = a_dead_letter()
    discards.discard([dead.pk], tenant_id=None, by="a command", reason="a test order", now=NOW)
    with pytest.raises(DeadLetterDiscarded, match="a test order"):
        redriving.redrive(dead.pk, now=LATER)

    assert not Job.objects.filter(redrive_of=dead.pk).exists()


def test_a_patch_is_merged_into_the_old_input_and_checked(db: None) -> None:
    good, bad = (a_dead_letter(input={"text": "hello", "reader": "r-001"}) for _ in range(2))
    accepted = redriving.redrive(good.pk, now=LATER, edit=Edit(patch={"text": "better", "reader": None}))
    with pytest.raises(InputInvalid):
        redriving.redrive(bad.pk, now=LATER, edit=Edit(patch={"text": 7}))

    assert Job.objects.get(pk=accepted.job_id).input == {"text": "better"}


def test_an_edited_input_is_no_larger_than_the_endpoint_takes(tried: None, db: None) -> None:
    dead = a_dead_letter(endpoint="trial-job@1", agent="trial@1")
    with pytest.raises(BodyTooLarge):
        redriving.redrive(dead.pk, now=LATER, edit=Edit(patch={"more": "x" * 70_000}))

    assert not Job.objects.filter(redrive_of=dead.pk).exists()

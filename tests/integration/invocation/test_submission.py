"""Accepting jobs: refused before anything is written, or written once with every number that binds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from invocation.domain.errors import IdempotencyConflict, InputInvalid, InvocationError, TooManyItems, TooManyTokens
from invocation.gateways.hints import CHANNEL
from invocation.models import Job, JobEvent
from invocation.services.submission import Accepted, fingerprint, ready, submit, submit_many
from quota.domain.days import UNLIMITED
from quota.domain.errors import CanNeverFit
from quota.models import ModelQuota
from quota.services import limits
from tests.integration.invocation.rows import NOW, TRACE, a_submission, told

pytestmark = pytest.mark.usefixtures("tried")
TENANT = uuid4()


def test_an_accepted_job_is_queued_with_its_first_event(db: None) -> None:
    accepted = submit(
        a_submission(TENANT, given={"text": "hello"}, subject="r-001", locale="de", metadata={"a": "b"}, traceparent=TRACE), now=NOW
    )
    job = Job.objects.get(pk=accepted.job_id)

    assert not accepted.is_replay
    assert (job.state, job.attempt, job.owner, job.input) == ("queued", 0, None, {"text": "hello"})
    assert (job.subject, job.locale, job.metadata, job.traceparent) == ("r-001", "de", {"a": "b"}, TRACE)
    assert (job.agent, job.mode, job.priority_class) == ("mangaassist@1", "async-queue", "p1")
    assert told(job) == [(1, "job.queued")]


def test_what_no_models_quota_can_ever_take_is_refused_before_anything_is_written(db: None) -> None:
    limits.forget()
    for model in ("gearbox-offline-standard", "gearbox-offline-economy"):
        terms = {"tokens_per_minute": 1_000, "requests_per_minute": 10, "p0_reserved": 0.3, "p3_cap": 0.5}
        ModelQuota.objects.update_or_create(provider="offline", model=model, defaults=terms)
    try:
        submit(a_submission(TENANT, endpoint="trial-job@1", given={"text": "x" * 700}), now=NOW)
        with pytest.raises(CanNeverFit, match="700"):
            submit(a_submission(TENANT, endpoint="trial-job@1", given={"text": "x" * 701}), now=NOW)
    finally:
        limits.forget()

    assert Job.objects.filter(tenant_id=TENANT).count() == 1


@pytest.mark.parametrize(
    ("endpoint", "asked", "budget"),
    [
        ("personalize@1", None, "0.50"),
        ("personalize@1", "0.20", "0.20"),
        ("personalize@1", "9.00", "0.50"),
        ("personalize@1", "0", "0"),
        ("refund@1", None, "0.10"),
        ("refund@1", "0.30", "0.10"),
    ],
)
def test_budgets_are_copied_to_the_job_and_only_ever_narrowed(db: None, endpoint: str, asked: str | None, budget: str) -> None:
    cost = None if asked is None else Decimal(asked)
    accepted = submit(a_submission(TENANT, endpoint=endpoint, given={"order": "o-1001"}, cost_usd=cost), now=NOW)
    job = Job.objects.get(pk=accepted.job_id)

    assert (job.cost_cap_usd, job.latency_budget_ms, job.tries) == (Decimal(budget), 90_000, 3)


@pytest.mark.parametrize(
    ("endpoint", "given", "error", "facts"),
    [
        ("personalize@1", {"text": 7}, InputInvalid, {"field": "/input/text", "found": 7}),
        ("personalize@1", {"txt": "hello"}, InputInvalid, {"field": "/input/txt"}),
        ("refund@1", {}, InputInvalid, {"field": "/input/order"}),
        ("trial-job@1", {"text": "x" * 1_001}, TooManyTokens, {"found": 1_001, "limit": 1_000}),
        ("trial-job@1", {"items": [0] * 1_001}, TooManyItems, {"found": 1_001, "limit": 1_000}),
    ],
)
def test_a_bad_input_is_refused_by_name_and_nothing_is_written(
    db: None, endpoint: str, given: Mapping[str, Any], error: type[InvocationError], facts: Mapping[str, Any]
) -> None:
    with pytest.raises(error) as refused:
        submit(a_submission(TENANT, endpoint=endpoint, given=given), now=NOW)

    assert facts.items() <= refused.value.facts.items()
    assert not Job.objects.exists()


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [254, 300, 1_000])
@pytest.mark.parametrize(("endpoint", "field"), [("personalize@1", "text"), ("trial-job@1", "deep")])
def test_an_input_that_is_nested_too_deeply_is_refused(db: None, endpoint: str, field: str, levels: int) -> None:
    given = {field: nested(levels)}
    with pytest.raises(InputInvalid):
        submit(a_submission(TENANT, endpoint=endpoint, given=given), now=NOW)
    with pytest.raises(InputInvalid):
        fingerprint("POST", "/v1/jobs", given)

    assert not Job.objects.exists()


def keyed(body: str, *, key: str = "k-1", tenant: Any = TENANT) -> Accepted:
    return submit(
        a_submission(tenant, given={"text": body}, idempotency_key=key, fingerprint=fingerprint("POST", "/v1/jobs", body)), now=NOW
    )


def test_the_same_key_and_body_are_the_same_job(db: None) -> None:
    first, second = keyed("hello"), keyed("hello")

    assert (second.job_id, second.is_replay) == (first.job_id, True)
    assert Job.objects.count() == JobEvent.objects.count() == 1


def test_the_same_key_with_another_body_is_refused_and_the_first_stands(db: None) -> None:
    first = keyed("hello")
    with pytest.raises(IdempotencyConflict, match=str(first.job_id)):
        keyed("goodbye")

    assert Job.objects.get().input == {"text": "hello"}


def test_a_key_belongs_to_its_tenant(db: None) -> None:
    first, second = keyed("hello"), keyed("goodbye", tenant=uuid4())

    assert first.job_id != second.job_id
    assert not second.is_replay


def test_jobs_without_a_key_are_never_the_same(db: None) -> None:
    assert len({submit(a_submission(TENANT), now=NOW).job_id for _ in range(3)}) == 3


def test_a_fingerprint_does_not_see_the_order_of_fields() -> None:
    assert fingerprint("POST", "/v1/jobs", {"a": 1, "b": 2}) == fingerprint("POST", "/v1/jobs", {"b": 2, "a": 1})
    assert fingerprint("POST", "/v1/jobs", {"a": 1}) != fingerprint("POST", "/v1/jobs", {"a": 2})
    assert fingerprint("POST", "/v1/jobs", {}) != fingerprint("PUT", "/v1/jobs", {})


def test_submits_that_race_with_one_key_make_one_job(transactional_db: None) -> None:
    start = threading.Barrier(4)

    def racing(_: int) -> Accepted:
        try:
            start.wait(10)
            return keyed("hello")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        accepted = list(pool.map(racing, range(4)))

    assert len({each.job_id for each in accepted}) == 1
    assert [each.is_replay for each in accepted].count(False) == 1
    assert Job.objects.count() == JobEvent.objects.count() == 1


def test_a_submission_wakes_the_dispatcher_when_it_commits(transactional_db: None) -> None:
    from invocation.gateways.presence import own_connection

    with own_connection() as listening:
        listening.execute(f"LISTEN {CHANNEL}")
        submit(a_submission(TENANT), now=NOW)
        heard = [word.payload for word in listening.notifies(timeout=10, stop_after=1)]

    assert heard == [f"p1 {TENANT}"]


def test_what_is_not_wanted_any_more_is_said_at_submission(db: None) -> None:
    until = NOW + timedelta(minutes=1)
    accepted = submit(a_submission(TENANT, expires_at=until), now=NOW)

    assert Job.objects.get(pk=accepted.job_id).expires_at == until


def test_groups_that_bring_the_same_keys_in_another_order_do_not_lock_each_other_out(transactional_db: None) -> None:
    """One group waits for a key in the middle of its statement; of the keys before it another group must have none."""

    def together(keys: str) -> list[Any]:
        try:
            return submit_many([ready(a_submission(TENANT, idempotency_key=key), day=UNLIMITED, now=NOW) for key in keys])
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            submit(a_submission(TENANT, idempotency_key="m"), now=NOW)
            first = pool.submit(together, "zma")
            time.sleep(0.3)
            second = pool.submit(together, "az")
            time.sleep(0.3)
        answers = [*first.result(20), *second.result(20)]

    assert sum(not each.is_replay for each in answers) == 2
    assert Job.objects.count() == 3

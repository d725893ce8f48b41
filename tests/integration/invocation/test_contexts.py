"""Contexts: versions that only grow, and the newest answer, which nothing older and no failure replaces."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, connections, transaction

from invocation.domain.contexts import Relevance
from invocation.domain.errors import ContextMovedOn
from invocation.domain.jobs import JobState
from invocation.models import ContextRecord, Job
from invocation.selectors.contexts import answer_of, owned_context, relevance_of
from invocation.services import contexts
from tests.integration.invocation.completing import bury, complete
from tests.integration.invocation.rows import NOW, a_job

KEY = "conversation-7"


def asked(tenant_id: UUID, version: int | None = None, *, policy: Relevance = Relevance.ANNOTATE) -> Job:
    """A job in the hands of a worker, asked in a version of the context."""
    context = contexts.asked(tenant_id, KEY, version=version, policy=policy, now=NOW)
    named = {"context_key": context.key, "context_version": context.version, "relevance": str(policy)}
    return a_job(JobState.WORKING, tenant_id=tenant_id, **named)


def answer(tenant_id: UUID) -> tuple[UUID | None, int | None]:
    context = owned_context(tenant_id, KEY)
    return context.answer_job_id, context.answer_version


@pytest.mark.django_db
class TestVersions:
    def test_a_context_begins_at_one_and_moves_on_by_one(self) -> None:
        tenant = uuid4()

        assert [contexts.bump(tenant, KEY, now=NOW) for _ in range(3)] == [1, 2, 3]

    def test_a_version_may_be_named_and_named_again(self) -> None:
        tenant = uuid4()

        assert [contexts.move_to(tenant, KEY, version=version, now=NOW) for version in (5, 5, 9)] == [5, 5, 9]

    def test_a_version_never_goes_back(self) -> None:
        tenant = uuid4()
        contexts.move_to(tenant, KEY, version=5, now=NOW)

        with pytest.raises(ContextMovedOn) as refused:
            contexts.move_to(tenant, KEY, version=4, now=NOW)

        assert refused.value.facts["current_version"] == 5
        assert owned_context(tenant, KEY).version == 5

    def test_who_names_no_version_asks_in_the_current_one(self) -> None:
        tenant = uuid4()
        assert asked(tenant).context_version == 1
        contexts.bump(tenant, KEY, now=NOW)

        assert asked(tenant).context_version == 2

    def test_a_job_of_a_higher_version_moves_the_context_on_and_one_of_a_lower_does_not_move_it_back(self) -> None:
        tenant = uuid4()
        asked(tenant, 4)
        assert owned_context(tenant, KEY).version == 4

        assert asked(tenant, 2).context_version == 2
        assert owned_context(tenant, KEY).version == 4

    def test_tenants_that_use_the_same_key_have_a_context_each(self) -> None:
        one, other = uuid4(), uuid4()
        contexts.move_to(one, KEY, version=7, now=NOW)

        assert contexts.bump(other, KEY, now=NOW) == 1

    def test_the_database_takes_no_half_answer_and_none_that_is_ahead_of_its_context(self) -> None:
        tenant = uuid4()
        contexts.bump(tenant, KEY, now=NOW)
        row = ContextRecord.objects.filter(tenant_id=tenant)

        for wrong in ({"answer_version": 1}, {"answer_job_id": uuid4(), "answer_version": 2, "answered_at": NOW}):
            with pytest.raises(IntegrityError), transaction.atomic():
                row.update(**wrong)


@pytest.mark.django_db
class TestAnswers:
    def test_a_completed_job_answers_its_context(self) -> None:
        job = asked(uuid4())
        complete(job)

        assert answer(job.tenant_id) == (job.pk, 1)
        assert answer_of(owned_context(job.tenant_id, KEY)) == job

    def test_a_newer_answer_replaces_an_older_one(self) -> None:
        tenant = uuid4()
        old, new = asked(tenant, 1), asked(tenant, 2)
        complete(old)
        complete(new)

        assert answer(tenant) == (new.pk, 2)

    def test_an_older_answer_that_comes_later_does_not_replace_a_newer_one(self) -> None:
        tenant = uuid4()
        old, new = asked(tenant, 1), asked(tenant, 2)
        complete(new)
        complete(old)

        assert answer(tenant) == (new.pk, 2)

    def test_of_two_that_end_together_the_newer_answers(self) -> None:
        tenant = uuid4()
        new, old = asked(tenant, 2), asked(tenant, 1)
        complete(new, old)

        assert answer(tenant) == (new.pk, 2)

    def test_a_second_answer_of_the_same_version_replaces_the_first(self) -> None:
        tenant = uuid4()
        first, second = asked(tenant), asked(tenant)
        complete(first)
        complete(second)

        assert answer(tenant) == (second.pk, 1)

    def test_a_failure_of_a_newer_version_does_not_take_the_answer_away(self) -> None:
        tenant = uuid4()
        good, bad = asked(tenant, 1), asked(tenant, 2)
        complete(good)
        bury(bad)

        assert Job.objects.get(pk=bad.pk).state == "failed"
        assert answer(tenant) == (good.pk, 1)

    def test_a_withheld_answer_that_comes_too_late_is_not_applied(self) -> None:
        tenant = uuid4()
        late = asked(tenant, 1, policy=Relevance.WITHHOLD)
        contexts.bump(tenant, KEY, now=NOW)
        complete(late)

        assert answer(tenant) == (None, None)

    def test_a_withheld_answer_in_time_is_applied(self) -> None:
        job = asked(uuid4(), policy=Relevance.WITHHOLD)
        complete(job)

        assert answer(job.tenant_id) == (job.pk, 1)

    def test_the_late_one_to_be_withheld_does_not_hide_another_that_ends_with_it(self) -> None:
        tenant = uuid4()
        plain, withheld = asked(tenant, 1), asked(tenant, 2, policy=Relevance.WITHHOLD)
        contexts.move_to(tenant, KEY, version=3, now=NOW)
        complete(plain, withheld)

        assert answer(tenant) == (plain.pk, 1)

    def test_a_job_without_a_context_and_one_whose_context_is_gone_end_all_the_same(self) -> None:
        bare, orphan = a_job(JobState.WORKING), asked(uuid4())
        ContextRecord.objects.all().delete()

        assert complete(bare, orphan)
        assert relevance_of(orphan) == {"is_current": True, "asked_version": 1, "current_version": 1}

    def test_a_context_that_began_anew_is_caught_up_by_an_answer_of_before(self) -> None:
        job = asked(uuid4(), 5)
        ContextRecord.objects.all().delete()
        contexts.bump(job.tenant_id, KEY, now=NOW)

        assert complete(job)
        assert (answer(job.tenant_id), owned_context(job.tenant_id, KEY).version) == ((job.pk, 5), 5)

    @pytest.mark.parametrize(
        ("policy", "told"),
        [
            (Relevance.DELIVER, None),
            (Relevance.ANNOTATE, {"is_current": False, "asked_version": 1, "current_version": 2}),
            (Relevance.WITHHOLD, {"is_current": False, "asked_version": 1, "current_version": 2}),
        ],
    )
    def test_what_is_told_of_an_answer_that_comes_too_late(self, policy: Relevance, told: Any) -> None:
        job = asked(uuid4(), policy=policy)
        contexts.bump(job.tenant_id, KEY, now=NOW)

        assert relevance_of(job) == told


@pytest.mark.django_db(transaction=True)
class TestTogether:
    @pytest.mark.parametrize("first", ["newer", "older"])
    def test_whichever_commits_last_the_newer_answer_stands(self, first: str) -> None:
        """The second one completes while the first one's transaction is open, and waits for it."""
        tenant = uuid4()
        old, new = asked(tenant, 1), asked(tenant, 2)
        now, later = (new, old) if first == "newer" else (old, new)

        with ThreadPoolExecutor(1) as other:
            with transaction.atomic():
                complete(now)
                waiting = other.submit(closing(complete), later)
                waits_for_a_lock()
            assert waiting.result(20)

        assert answer(tenant) == (new.pk, 2)

    def test_of_bumps_at_once_none_is_lost(self) -> None:
        tenant, start = uuid4(), threading.Barrier(6)

        def bumps(_: int) -> list[int]:
            start.wait(20)
            return [contexts.bump(tenant, KEY, now=NOW + timedelta(seconds=1)) for _ in range(10)]

        with ThreadPoolExecutor(6) as pool:
            reached = [version for some in pool.map(closing(bumps), range(6)) for version in some]

        assert sorted(reached) == list(range(1, 61))

    def test_groups_that_name_the_same_contexts_in_another_order_do_not_wait_for_one_another_for_ever(self) -> None:
        tenant = uuid4()
        keys = ["a", "b", "c", "d"]
        for key in keys:
            contexts.bump(tenant, key, now=NOW)

        def group(order: int) -> bool:
            named = {"context_version": 1, "relevance": "annotate"}
            jobs = [a_job(JobState.WORKING, tenant_id=tenant, context_key=key, **named) for key in keys[::order]]
            return complete(*jobs)

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(closing(group), [1, -1] * 12))


def closing(work: Callable[..., Any]) -> Callable[..., Any]:
    def run(*given: Any) -> Any:
        try:
            return work(*given)
        finally:
            connections.close_all()

    return run


def waits_for_a_lock() -> None:
    """Return when another session of this database waits for one."""
    end = threading.Event()
    for _ in range(400):
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_locks WHERE NOT granted")
            if cursor.rowcount:
                return
        end.wait(0.025)
    raise AssertionError("nobody waits")

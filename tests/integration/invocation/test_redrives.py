"""Redrives in bulk: who is a member, the rate, refusals, edits, abort and walls."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from structlog.testing import capture_logs

from invocation.domain.endpoints import Estimate
from invocation.domain.errors import InputInvalid, NotFound, StaleMove, TooManyRedrives
from invocation.domain.jobs import JobState
from invocation.domain.modes import Mode
from invocation.domain.redrives import MOST_IDS, MOST_OPEN, AgentChoice, Edit, Match, RedriveState
from invocation.gateways import declared
from invocation.models import DeadLetter, Job, Redrive, RedriveMember
from invocation.selectors import dead_letters
from invocation.selectors import redrives as seen
from invocation.services import discards, redrives, redriving
from quota.models import Plan
from tests.integration.invocation import trial
from tests.integration.invocation.records import a_dead_letter
from tests.integration.invocation.redriven import LATER, SECOND, again, counts, finished, opened, successors
from tests.integration.invocation.rows import NOW, a_job, a_tenant
from tests.integration.invocation.test_redriving import retired

__all__ = ["retired"]


def test_a_redrive_by_filter_starts_what_matches_and_nothing_else(db: None) -> None:
    tenant = uuid4()
    wanted: dict[str, Any] = {"tenant_id": tenant, "cause": "provider", "error": {"code": "down"}}
    ours = [a_dead_letter(**wanted) for _ in range(3)]
    a_dead_letter(**{**wanted, "tenant_id": uuid4()})
    a_dead_letter(**{**wanted, "cause": "bad_code"})
    a_dead_letter(**{**wanted, "error": {"code": "up"}})
    a_dead_letter(**wanted, endpoint="refund@1")
    a_dead_letter(**wanted, finished_at=NOW - timedelta(days=2))
    a_dead_letter(**wanted, finished_at=NOW - timedelta(minutes=1))
    a_job(JobState.FAILED, mode="scheduled-trigger", endpoint="retention@1", **{**wanted, "cause": "provider"})
    match = Match(
        tenant_id=tenant,
        cause="provider",
        code="down",
        endpoint="personalize@1",
        failed_after=NOW - timedelta(seconds=30),
        failed_before=LATER,
    )
    assert redrives.count_matching(match) == 3
    redrive = finished(opened(match=match))

    assert (redrive.state, redrive.total, redrive.done) == (RedriveState.COMPLETED, 3, 3)
    assert successors() == {job.pk for job in ours}
    assert DeadLetter.objects.filter(pk__in=[job.pk for job in ours], state=JobState.FAILED).count() == 3


def test_a_redrive_of_chosen_ids_starts_these(db: None) -> None:
    chosen, _ = a_dead_letter(), a_dead_letter()
    redrive = opened(job_ids=[chosen.pk, chosen.pk])

    assert counts(redrive) == (RedriveState.RUNNING, 1, 0, 0)
    assert counts(finished(redrive)) == (RedriveState.COMPLETED, 1, 1, 0)
    assert successors() == {chosen.pk}
    assert RedriveMember.objects.get().successor_id == Job.objects.get(redrive_of=chosen.pk).pk


def test_what_fails_after_the_opening_is_no_member(db: None) -> None:
    a_dead_letter()
    redrive = opened()
    late = a_dead_letter(finished_at=NOW + timedelta(milliseconds=1))

    assert counts(finished(redrive)) == (RedriveState.COMPLETED, 1, 1, 0)
    assert late.pk not in successors()


def test_the_redriven_and_the_discarded_are_no_members(db: None) -> None:
    redriven, discarded, dead = a_dead_letter(), a_dead_letter(), a_dead_letter()
    redriving.redrive(redriven.pk, now=NOW)
    discards.discard([discarded.pk], tenant_id=None, by="a test", reason="done", now=NOW)
    redrive = finished(opened())

    assert (redrive.total, redrive.done) == (1, 1)
    assert successors() == {redriven.pk, dead.pk}


def test_a_redrive_of_nothing_is_complete_at_once(db: None) -> None:
    assert counts(finished(opened())) == (RedriveState.COMPLETED, 0, 0, 0)


def test_members_are_collected_in_pages(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = {a_dead_letter().pk for _ in range(7)}
    monkeypatch.setattr(redrives, "PAGE", 3)
    monkeypatch.setattr(redrives, "PAGES_OF_A_SWEEP", 2)
    redrive = opened()
    redrives.sweep(now=NOW)
    assert counts(redrive) == (RedriveState.COLLECTING, 6, 0, 0)
    redrives.sweep(now=NOW)

    assert counts(redrive) == (RedriveState.RUNNING, 7, 0, 0)
    assert set(RedriveMember.objects.values_list("job_id", flat=True)) == dead


def test_no_more_are_started_than_the_rate_lets(db: None) -> None:
    for _ in range(12):
        a_dead_letter()
    redrive = opened(rate=4)
    for moment, started in ((0.2, 0), (1, 4), (1, 4), (1.5, 6), (0.1, 6), (2.5, 10)):
        redrives.sweep(now=NOW + timedelta(seconds=moment))
        assert again(redrive).done == started
    redrives.sweep(now=NOW + timedelta(hours=1))

    assert counts(redrive) == (RedriveState.COMPLETED, 12, 12, 0)


def test_a_sweep_that_comes_late_does_not_stampede(db: None) -> None:
    for _ in range(12):
        a_dead_letter()
    redrive = opened(rate=1)
    redrives.sweep(now=NOW + timedelta(hours=1))

    assert again(redrive).done == 5


def test_one_sweep_bears_no_more_than_its_share(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrives, "JOBS_OF_A_SWEEP", 4)
    monkeypatch.setattr(redrives, "JOBS_OF_A_STEP", 2)
    for _ in range(6):
        a_dead_letter()
    first, second = opened(rate=200), opened(job_ids=[a_dead_letter().pk])
    redrives.sweep(now=LATER)
    assert again(first).done + again(second).done == 4
    finished(first, now=LATER)

    assert counts(finished(second, now=LATER))[2] == 1


def test_who_cannot_be_started_is_recorded_and_the_rest_goes_on(retired: None, db: None) -> None:
    good = a_dead_letter(input={"text": "hello"})
    gone = a_dead_letter(agent="mangaassist@99")
    old = a_dead_letter(endpoint="old@1")
    wrong = a_dead_letter(input={"text": 7})
    between = a_dead_letter()
    deleted = a_dead_letter()
    redrive = opened(job_ids=[job.pk for job in (gone, old, wrong, between, deleted, good)])
    redriving.redrive(between.pk, now=NOW)
    Job.objects.filter(pk=deleted.pk).delete()
    redrive = finished(redrive)

    assert (redrive.state, redrive.total, redrive.done, redrive.refused) == (RedriveState.COMPLETED, 6, 1, 5)
    refused = {row.job_id: row.code for row in seen.refused_members(redrive, most=10)}
    assert refused == {
        gone.pk: "agent_version_gone",
        old.pk: "endpoint_retired",
        wrong.pk: "input_invalid",
        between.pk: "stale_move",
        deleted.pk: "not_found",
    }
    assert {(each.code, each.count) for each in seen.refusals(redrive)} == {(code, 1) for code in refused.values()}
    assert all(each.sentence for each in seen.refusals(redrive))
    assert [row.job_id for row in seen.started_members(redrive, most=10)] == [good.pk]


def test_who_does_not_fit_the_plan_any_more_is_refused_by_name(db: None) -> None:
    tenant = a_tenant("house")
    dead = a_dead_letter(tenant_id=tenant, input={"text": "hello, all of you"})
    Plan.objects.filter(tenants=tenant).update(daily_tokens=1)
    redrive = finished(opened(job_ids=[dead.pk]))

    assert (redrive.state, redrive.done, redrive.refused) == (RedriveState.COMPLETED, 0, 1)
    [member] = seen.refused_members(redrive, most=10)
    assert (member.code, "plan allows 1 tokens a day" in member.sentence) == ("larger_than_day", True)


def fails(_: Any) -> Estimate:
    raise ZeroDivisionError


ENDPOINTS = (replace(trial.trial("fails", Mode.ASYNC_QUEUE), estimate=fails),)


@pytest.fixture
def failing(tried: None, settings: Any) -> None:
    """Declare beside the trial's an endpoint whose estimate fails."""
    settings.ENDPOINT_MODULES = (*settings.ENDPOINT_MODULES, __name__)
    declared.book.cache_clear()


@pytest.mark.usefixtures("failing")
def test_a_member_that_breaks_off_is_refused_as_a_defect_and_the_rest_goes_on(db: None) -> None:
    """The database refuses the one in the midst of its transaction; an endpoint's own code fails at the other."""
    with connection.cursor() as cursor:
        law = "CHECK (redrive_of_id IS NULL OR input ->> 'text' <> 'bomb')"
        cursor.execute(f"ALTER TABLE invocation_job ADD CONSTRAINT job_is_no_bomb {law}")
    terms = {"endpoint": "trial-job@1", "agent": "trial@1"}
    unfit = a_dead_letter(input={"text": "hello"}, **{**terms, "endpoint": "fails@1"})
    bomb = a_dead_letter(input={"text": "bomb"}, **terms)
    good = a_dead_letter(input={"text": "hello"}, **terms)
    with capture_logs() as said:
        redrive = finished(opened(job_ids=[unfit.pk, bomb.pk, good.pk]))

    assert counts(redrive) == (RedriveState.COMPLETED, 3, 1, 2)
    assert {row.job_id: row.code for row in seen.refused_members(redrive, most=10)} == {unfit.pk: "defect", bomb.pk: "defect"}
    assert successors() == {good.pk}
    assert {line["job_id"] for line in said if line["event"] == "redrive_member_broke_off"} == {str(unfit.pk), str(bomb.pk)}


AWAY = """
CREATE FUNCTION pg_temp.away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('gearbox.is_away', TRUE) = 'on' AND NEW.redrive_of_id IS NOT NULL THEN
        RAISE EXCEPTION 'away' USING ERRCODE = 'deadlock_detected';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER away BEFORE INSERT ON invocation_job FOR EACH ROW EXECUTE FUNCTION pg_temp.away();
SET LOCAL gearbox.is_away = 'on';
"""


def test_a_member_that_the_database_could_not_take_for_the_moment_is_not_refused(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(AWAY)
        redrive = opened(job_ids=[a_dead_letter().pk])
        redrives.sweep(now=LATER)
        assert counts(redrive) == (RedriveState.RUNNING, 1, 0, 0)
        cursor.execute("SET LOCAL gearbox.is_away = 'off'")

    assert counts(finished(redrive)) == (RedriveState.COMPLETED, 1, 1, 0)


def test_a_redrive_that_breaks_off_stops_no_other(db: None) -> None:
    broken, dead = opened(), a_dead_letter()
    Redrive.objects.filter(pk=broken.pk).update(match={"phase": "of the moon"}, paced_at=NOW - SECOND)
    whole = opened(job_ids=[dead.pk])
    with capture_logs() as said:
        assert counts(finished(whole)) == (RedriveState.COMPLETED, 1, 1, 0)

    assert again(broken).state == RedriveState.COLLECTING
    assert str(broken.pk) in {line.get("redrive_id") for line in said if line["event"] == "redrive_broke_off"}


def test_a_patch_edits_every_input_and_a_whole_input_one(db: None) -> None:
    first, second, third = (a_dead_letter(input={"text": "hello", "reader": f"r-00{number}"}) for number in (1, 2, 3))
    finished(opened(job_ids=[first.pk, second.pk], edit=Edit(patch={"text": "better"})))
    finished(opened(job_ids=[third.pk], edit=Edit(input={"text": "another"}, agent=AgentChoice.CURRENT)))

    assert [Job.objects.get(redrive_of=job.pk).input for job in (first, second, third)] == [
        {"text": "better", "reader": "r-001"},
        {"text": "better", "reader": "r-002"},
        {"text": "another"},
    ]


def test_an_aborted_redrive_starts_no_more_and_says_who_ended_it(db: None) -> None:
    for _ in range(5):
        a_dead_letter()
    redrive = opened(rate=2)
    redrives.sweep(now=LATER)
    redrives.abort(redrive.pk, by="the operator", now=LATER)
    redrives.abort(redrive.pk, by="another", now=LATER + SECOND)
    redrives.sweep(now=NOW + timedelta(minutes=1))
    redrive = again(redrive)

    assert (redrive.state, redrive.done, redrive.aborted_by, redrive.finished_at) == (RedriveState.ABORTED, 2, "the operator", LATER)
    assert dead_letters.matching(Match()).count() == 3


def test_a_redrive_that_still_collects_can_be_aborted(db: None) -> None:
    a_dead_letter()
    redrive = opened()
    redrives.abort(redrive.pk, by="the operator", now=NOW)
    redrives.sweep(now=LATER)

    assert counts(redrive) == (RedriveState.ABORTED, 0, 0, 0)


def test_a_completed_redrive_is_not_aborted(db: None) -> None:
    redrive = finished(opened())
    with pytest.raises(StaleMove, match="completed"):
        redrives.abort(redrive.pk, by="the operator", now=LATER)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"rate": 0.01}, "/rate"),
        ({"rate": 1_000.0}, "/rate"),
        ({"reason": "  "}, "/reason"),
        ({"edit": Edit(input={"text": "x"})}, "/input"),
        ({"edit": Edit(patch={"text": "a\0b"})}, "/input_patch/text"),
        ({"edit": Edit(patch={"text": "x" * 70_000})}, "/input_patch"),
        ({"edit": Edit(patch={"text": 2**70})}, "/input_patch"),
        ({"job_ids": [uuid4()], "match": Match()}, "/ids"),
        ({"job_ids": [], "match": None}, "/ids"),
        ({"job_ids": [uuid4() for _ in range(MOST_IDS + 1)]}, "/ids"),
    ],
)
def test_a_redrive_that_makes_no_sense_is_refused(db: None, terms: dict[str, Any], field: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        opened(**terms)

    assert refused.value.facts["field"] == field
    assert not Redrive.objects.exists()


def test_ids_that_are_no_dead_letters_are_refused_before_anything_is_opened(db: None) -> None:
    dead, queued = a_dead_letter(), a_job()
    for stranger in (queued.pk, uuid4()):
        with pytest.raises(NotFound, match=str(stranger)):
            opened(job_ids=[dead.pk, stranger])

    assert not Redrive.objects.exists()


def test_a_tenant_redrives_only_its_own(db: None) -> None:
    ours, theirs = a_dead_letter(), a_dead_letter()
    with pytest.raises(NotFound):
        opened(tenant_id=ours.tenant_id, job_ids=[ours.pk, theirs.pk])
    redrive = finished(opened(tenant_id=ours.tenant_id, match=Match(tenant_id=theirs.tenant_id)))

    assert (redrive.total, successors()) == (1, {ours.pk})
    with pytest.raises(NotFound):
        seen.owned_redrive(theirs.tenant_id, redrive.pk)


def test_a_tenant_has_a_bounded_number_of_open_redrives(db: None) -> None:
    tenant = uuid4()
    for _ in range(MOST_OPEN):
        opened(tenant_id=tenant)
    with pytest.raises(TooManyRedrives):
        opened(tenant_id=tenant)
    opened(tenant_id=uuid4())

    finished(Redrive.objects.filter(tenant_id=tenant)[0])
    opened(tenant_id=tenant)


def test_a_single_redrive_that_comes_between_is_not_doubled(db: None) -> None:
    dead = a_dead_letter()
    redrive = opened()
    redrives.sweep(now=NOW)
    redriving.redrive(dead.pk, now=NOW)

    assert counts(finished(redrive)) == (RedriveState.COMPLETED, 1, 0, 1)
    assert Job.objects.filter(redrive_of=dead.pk).count() == 1


def test_the_seconds_left_come_from_the_rate(db: None) -> None:
    redrive = opened(job_ids=[a_dead_letter().pk for _ in range(5)], rate=2)
    assert seen.eta_s(redrive) == 2.5
    assert seen.eta_s(finished(redrive)) is None

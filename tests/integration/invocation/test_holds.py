"""Holds, end to end: whatever the scope, jobs wait in their order, a schedule's too, and chats are refused; the commands say so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections
from structlog.testing import capture_logs

from config.celery import app
from invocation.domain.errors import AdmissionHeld, StaleMove
from invocation.domain.jobs import JobState
from invocation.domain.rounds import START
from invocation.gateways import declared
from invocation.gateways.presence import Presence
from invocation.models import Hold, Job
from invocation.models.admission import HoldScope
from invocation.services import admission, dispatching, holds, schedules, searching, turn_openings
from invocation.services.turn_openings import Opening
from quota.domain.classes import PriorityClass
from quota.selectors import terms_of_tenants
from tests.integration.invocation.api.calling import open_account
from tests.integration.invocation.rows import NOW, a_job, a_process, a_tenant

SCOPES = {"endpoint": "personalize@1", "agent": "mangaassist@1", "class": "p1", "tenant": ""}


def admitted(priority_class: PriorityClass = PriorityClass.P1) -> list[UUID]:
    scene = admission.look(priority_class, place=START, now=NOW)
    found = admission.admit(priority_class, scene, terms=terms_of_tenants(), place=START, now=NOW)
    return [each.job_id for each in found.picked]


def hold(scope: str, tenant: UUID) -> Hold:
    return holds.hold(HoldScope(scope), SCOPES[scope] or str(tenant), reason="r", by=None, now=NOW)


@pytest.mark.parametrize("scope", SCOPES)
def test_what_is_held_waits_in_its_order_and_others_pass(db: None, scope: str) -> None:
    tenant, other = a_tenant(), a_tenant()
    a_process()
    a_process("p2")
    waiting = [a_job(tenant_id=tenant).pk for _ in range(3)]
    free = a_job(tenant_id=other, endpoint="route@1", agent="broker@1", priority_class="p2").pk
    found = hold(scope, tenant)

    assert admitted() == []
    assert admitted(PriorityClass.P2) == [free]
    assert set(Job.objects.filter(pk__in=waiting).values_list("state", flat=True)) == {"queued"}

    holds.release(found.pk, by=None, now=NOW)
    assert admitted() == waiting


def test_a_held_endpoint_does_not_hold_up_the_same_tenants_others(db: None) -> None:
    tenant = a_tenant()
    a_process()
    for _ in range(3):
        a_job(tenant_id=tenant)
    free = a_job(tenant_id=tenant, endpoint="refund@1").pk
    hold("endpoint", tenant)

    assert admitted() == [free]


@pytest.fixture
def short_sighted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round looks at few jobs, so that few are many."""
    monkeypatch.setattr(searching, "FRONT", 2)
    monkeypatch.setattr(searching, "STRETCH", 4)


def rounds(count: int) -> list[list[UUID]]:
    """Return what each of so many rounds admits, each going on where the one before ended."""
    found, spots = [], admission.NOWHERE
    for _ in range(count):
        scene = admission.look(PriorityClass.P1, place=START, now=NOW)
        given = admission.admit(PriorityClass.P1, scene, terms=terms_of_tenants(), place=START, now=NOW, spots=spots)
        spots = given.spots
        found.append([each.job_id for each in given.picked])
    return found


def test_no_number_of_held_jobs_hides_what_lies_behind_them_for_ever(db: None, short_sighted: None) -> None:
    tenant = a_tenant()
    a_process(slots=1)
    for _ in range(30):
        a_job(tenant_id=tenant)
    deep = a_job(tenant_id=tenant, endpoint="refund@1").pk
    for _ in range(10):
        a_job(tenant_id=tenant)
    hold("endpoint", tenant)
    found = rounds(12)

    assert [each for each in found if each] == [[deep]]
    assert found.index([deep]) == 7


def test_the_search_begins_anew_at_the_queues_end_and_what_becomes_ready_in_front_is_seen_at_once(db: None, short_sighted: None) -> None:
    tenant = a_tenant()
    a_process(slots=1)
    for _ in range(30):
        a_job(tenant_id=tenant)
    hold("endpoint", tenant)
    spots = {tenant: searching.Spot(1, max(Job.objects.values_list("pk", flat=True)))}
    scene = admission.look(PriorityClass.P1, place=START, now=NOW)
    ended = admission.admit(PriorityClass.P1, scene, terms=terms_of_tenants(), place=START, now=NOW, spots=spots)
    resumed = a_job(tenant_id=tenant, endpoint="refund@1", rank=0).pk
    scene = admission.look(PriorityClass.P1, place=START, now=NOW)
    seen = admission.admit(PriorityClass.P1, scene, terms=terms_of_tenants(), place=START, now=NOW, spots=spots)

    assert (ended.picked, ended.spots) == ([], {})
    assert [each.job_id for each in seen.picked] == [resumed]


def test_where_nothing_is_held_nothing_is_searched(db: None, short_sighted: None) -> None:
    tenant = a_tenant()
    a_process(slots=1)
    a_job(tenant_id=tenant)

    assert (
        admission.admit(
            PriorityClass.P1,
            admission.look(PriorityClass.P1, place=START, now=NOW),
            terms=terms_of_tenants(),
            place=START,
            now=NOW,
            spots={tenant: searching.Spot(1, uuid4())},
        ).spots
        == {}
    )


def test_what_runs_runs_on(db: None) -> None:
    tenant = a_tenant()
    job = a_job(JobState.WORKING, tenant_id=tenant)
    hold("tenant", tenant)
    job.refresh_from_db()

    assert job.state == "working"


def test_a_schedule_fires_and_its_job_waits(db: None) -> None:
    tenant = a_tenant()
    a_process("p2")
    terms = schedules.ScheduleTerms(
        tenant_id=tenant,
        name="month",
        endpoint=declared.book().find("retention@1"),
        cron="* * * * *",
        timezone="UTC",
        input={"reader": "r-001"},
    )
    schedules.create(terms, now=NOW)
    found = holds.hold(HoldScope.ENDPOINT, "retention@1", reason="r", by=None, now=NOW)
    assert schedules.tick(now=NOW + timedelta(minutes=1)) == 1
    job = Job.objects.get(tenant_id=tenant)

    assert (job.state, admitted(PriorityClass.P2)) == ("queued", [])
    holds.release(found.pk, by=None, now=NOW)
    assert admitted(PriorityClass.P2) == [job.pk]


@pytest.mark.parametrize(
    ("scope", "value"), [("endpoint", "chat@1"), ("agent", "mangaassist@1"), ("class", "p0"), ("tenant", str(UUID(int=5)))]
)
def test_a_chat_is_refused_at_once_with_a_time_to_come_back(db: None, scope: str, value: str) -> None:
    a_process("p0", slots=4)
    holds.hold(HoldScope(scope), value, reason="looks wrong", by=None, now=NOW)
    opening = Opening(tenant_id=UUID(int=5), endpoint=declared.book().find("chat@1"), input={"text": "hello"})
    with pytest.raises(AdmissionHeld, match="looks wrong") as refused:
        turn_openings.open_turn(opening, now=NOW)

    assert refused.value.retry_after


def test_holding_twice_and_releasing_twice_is_refused(db: None) -> None:
    found = hold("class", uuid4())
    with pytest.raises(StaleMove, match="held already"):
        hold("class", uuid4())
    holds.release(found.pk, by=None, now=NOW)
    with pytest.raises(StaleMove, match="released already"):
        holds.release(found.pk, by=None, now=NOW)
    with pytest.raises(StaleMove, match="not held"):
        holds.release_value(HoldScope.CLASS, "p1", by=None, now=NOW)


def test_both_acts_are_in_the_log(db: None) -> None:
    with capture_logs() as said:
        holds.release(hold("class", uuid4()).pk, by=None, now=NOW)

    assert [(line["event"], line["scope"], line["value"], line["by"]) for line in said] == [
        ("admission_held", "class", "p1", "a command"),
        ("admission_released", "class", "p1", "a command"),
    ]


@pytest.fixture
def dispatcher(transactional_db: None) -> Iterator[None]:
    """A dispatcher that leads, in a thread."""
    leader = dispatching.Dispatcher()

    def lead() -> None:
        leader.run()
        connections.close_all()

    thread = threading.Thread(target=lead)
    thread.start()
    yield
    leader.stop()
    thread.join()
    with app.connection_for_write() as broker:
        app.amqp.queues["p1"](broker.default_channel).purge()


def within_a_second(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_hold_and_a_release_hold_within_a_second(dispatcher: None) -> None:
    tenant = a_tenant()
    worker = Presence()
    worker.hold()
    a_process(slots=100, now=datetime.now(UTC), lease=timedelta(hours=1), presence=worker.number)
    first = a_job(tenant_id=tenant)
    assert within_a_second(lambda: not Job.objects.filter(pk=first.pk, state="queued").exists())

    found = hold("tenant", tenant)
    second = a_job(tenant_id=tenant)
    time.sleep(0.6)
    assert Job.objects.get(pk=second.pk).state == "queued"

    holds.release(found.pk, by=None, now=datetime.now(UTC))
    assert within_a_second(lambda: not Job.objects.filter(pk=second.pk, state="queued").exists())
    worker.leave()


def said(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(("option", "value"), [("--endpoint", "chat@1"), ("--agent", "mangaassist@1"), ("--class", "p3")])
def test_a_command_holds_lists_and_releases(db: None, option: str, value: str) -> None:
    scope = option.removeprefix("--")
    User.objects.create_user("kim", password="long-enough-to-be-one")
    assert said("holds") == "Nothing is held.\n"

    assert f"{scope} {value} is held" in said("hold", option, value, "--reason", "month-end", "--by", "kim")
    assert f"{scope} {value}, held by kim since" in said("holds")
    assert json.loads(said("holds", "--json"))["reason"] == "month-end"
    with pytest.raises(CommandError, match="held already"):
        said("hold", option, value, "--reason", "again")

    assert f"{scope} {value} is released" in said("release", option, value)
    row = Hold.objects.get()
    assert (str(row.held_by), row.released_by, row.released_at is not None) == ("kim", None, True)
    with pytest.raises(CommandError, match="is not held"):
        said("release", option, value)


def test_a_command_names_a_tenant_by_name_or_by_id(db: None) -> None:
    account = open_account(tenant="Paper Lantern")
    said("hold", "--tenant", "Paper Lantern", "--reason", "asked")
    assert Hold.objects.get().value == str(account.tenant_id)
    said("release", "--tenant", str(account.tenant_id))

    assert Hold.objects.filter(released_at__isnull=True).count() == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--endpoint", "chat@9"), "There is no endpoint called chat@9"),
        (("--agent", "nobody@1"), "There is no agent called nobody@1"),
        (("--class", "p9"), "There is no class called p9"),
        (("--tenant", "Nobody"), "There is no tenant called Nobody"),
        (("--class", "p1", "--by", "nobody"), "There is no account called nobody"),
        ((), "one of the arguments"),
        (("--class", "p1", "--endpoint", "chat@1"), "not allowed with"),
    ],
)
def test_a_command_holds_nothing_that_is_not_there(db: None, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        said("hold", *words, "--reason", "r")

    assert not Hold.objects.exists()

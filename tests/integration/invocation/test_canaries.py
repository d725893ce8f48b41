"""Canaries: a declared or decided share of an endpoint's runs goes to another version of its agent, and stays there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.checks import run_checks
from django.db import IntegrityError, transaction
from uuid6 import uuid7

from agents.domain.contract import Finding
from agents.domain.values import Plan
from invocation.domain.endpoints import Canary, Endpoint, contract
from invocation.domain.errors import AdmissionHeld, EndpointRetired, InputInvalid, UnknownEndpoint
from invocation.domain.manifests import form_of
from invocation.gateways import declared
from invocation.models import Batch, CanaryChange, Job, Outbox, RunRecord, Turn
from invocation.models.admission import HoldScope
from invocation.selectors import canaries
from invocation.services import batch_openings, contracts, holds, schedules, submission, turn_openings
from invocation.services import canaries as deciding
from invocation.services.batch_openings import BatchOpening
from invocation.services.manifests import Manifest
from invocation.services.turn_openings import Opening
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import NOW, a_process, a_session, a_submission, a_tenant
from tests.integration.invocation.workers import job_worker, run

IDS = [UUID(int=number * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835 % 2**128) for number in range(1, 20_001)]
"""Spread like the random part of a UUIDv7, and the same at every run."""


@pytest.fixture(autouse=True)
def versions(tried: None, settings: Any) -> Iterator[None]:
    settings.AGENT_MODULES = (*settings.AGENT_MODULES, "tests.integration.invocation.canary_trial")
    canaries.forget()
    yield
    canaries.forget()


def endpoint(label: str = "trial-job@1") -> Endpoint:
    return declared.book().by_label[label]


def decide(percent: str, *, label: str = "trial-job@1", version: int = 2, **by: Any) -> CanaryChange:
    return deciding.decide(label, agent_version=version, percent=Decimal(percent), reason="try it", **{"by": None, **by}, now=NOW)


def submitted(**terms: Any) -> Job:
    accepted = submission.submit(a_submission(uuid4(), endpoint="trial-job@1", **terms), now=NOW)
    return Job.objects.get(pk=accepted.job_id)


@pytest.mark.parametrize("percent", [0.01, 1, 5, 50, 99])
def test_a_canary_takes_its_share(percent: float) -> None:
    taken = sum(Canary(2, percent).takes(each) for each in IDS) / len(IDS)

    assert abs(taken - percent / 100) < 0.01


def test_the_ids_that_we_make_are_spread_over_the_share() -> None:
    """The last digits of a UUIDv7 are of its random part, also of ids made in one millisecond."""
    places = Counter(uuid7().int % 10 for _ in range(2_000))

    assert set(places) == set(range(10))
    assert max(places.values()) < 300


def test_who_was_in_the_share_stays_in_it_while_it_grows() -> None:
    small = {each for each in IDS if Canary(2, 5).takes(each)}
    large = {each for each in IDS if Canary(2, 20).takes(each)}

    assert small < large


def test_a_declared_canary_takes_runs_until_an_operator_decides_otherwise(db: None) -> None:
    declares = replace(endpoint(), canary=Canary(2, 50))
    versions = Counter(canaries.agent_for(declares, each) for each in IDS)
    assert abs(versions["trial@2"] / len(IDS) - 0.5) < 0.01

    decide("0")
    assert {canaries.agent_for(declares, each) for each in IDS} == {"trial@1"}


def test_the_newest_decision_of_an_endpoint_holds(db: None) -> None:
    decide("50")
    decide("99.99", label="trial-mute@1")
    decide("10")

    assert canaries.of(endpoint()) == Canary(2, 10)
    assert canaries.of(endpoint("trial-mute@1")) == Canary(2, 99.99)
    assert canaries.of(endpoint("trial-chat@1")) is None
    assert CanaryChange.objects.count() == 3


def test_a_decision_of_another_process_holds_within_seconds(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert canaries.of(endpoint()) is None
    CanaryChange.objects.create(endpoint="trial-job@1", agent_version=2, percent=10, reason="r", changed_at=NOW)
    assert canaries.of(endpoint()) is None

    assert canaries.FRESH_S <= 5
    read_at, found = canaries._known
    monkeypatch.setattr(canaries, "_known", (read_at - canaries.FRESH_S, found))
    assert canaries.of(endpoint()) == Canary(2, 10)


def test_a_decision_is_read_once_in_two_seconds(db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert [canaries.of(endpoint()) for _ in range(100)] == [None] * 100


def test_a_job_is_pinned_to_its_version_and_a_later_decision_does_not_move_it(db: None) -> None:
    decide("99.99")
    job = submitted()
    decide("0")
    job.refresh_from_db()

    assert job.agent == ("trial@2" if Canary(2, 99.99).takes(job.pk) else "trial@1")
    assert submitted().agent == "trial@1"


@pytest.mark.django_db(transaction=True)
def test_a_run_of_the_canary_is_on_record_under_its_version(on_loop: OnLoop[Any]) -> None:
    """So scores and figures of the two versions can be compared."""
    job_id = submission.submit(a_submission(a_tenant(), endpoint="trial-job@1", agent="trial@2"), now=datetime.now(UTC)).job_id

    async def story() -> None:
        async with job_worker() as engine:
            await run(engine, job_id)

    on_loop(story())

    assert RunRecord.objects.get(source_id=job_id).agent == "trial@2"
    assert Outbox.objects.get(run_id=job_id).data["agent"] == "trial@2"


def test_a_redriven_job_keeps_its_own_version(db: None) -> None:
    decide("99.99")

    assert submitted(agent="trial@1").agent == "trial@1"


def test_every_turn_of_a_session_goes_to_one_version(db: None) -> None:
    a_process("p0", slots=100)
    decide("50", label="trial-chat@1")
    found = set()
    for _ in range(12):
        session = a_session()
        for _ in range(3):
            opened = turn_openings.open_turn(
                Opening(tenant_id=session.tenant_id, endpoint=endpoint("trial-chat@1"), input={"text": "hello"}, session_id=session.pk),
                now=NOW,
            )
            Turn.objects.filter(pk=opened.turn_id).update(
                state="completed", finished_at=NOW, last_event={"seq": 1, "type": "turn.completed", "at": "", "data": {}}
            )
        labels = set(session.turns.values_list("agent", flat=True))
        assert labels == {canaries.agent_for(endpoint("trial-chat@1"), session.pk)}
        found |= labels

    assert found <= {"trial@1", "trial@2"}


def test_a_new_session_is_of_the_version_of_its_id(db: None) -> None:
    a_process("p0", slots=100)
    decide("50", label="trial-chat@1")
    for _ in range(12):
        opened = turn_openings.open_turn(Opening(tenant_id=uuid4(), endpoint=endpoint("trial-chat@1"), input={"text": "hello"}), now=NOW)
        turn = Turn.objects.get(pk=opened.turn_id)
        assert turn.agent == canaries.agent_for(endpoint("trial-chat@1"), turn.session_id)


def test_a_batch_is_of_one_version_by_its_id(db: None, settings: Any, tmp_path: Path) -> None:
    settings.OBJECT_STORE = str(tmp_path)
    source = tmp_path / "rows.jsonl"
    source.write_text('{"text": "row"}\n')
    manifest = Manifest(location=str(source), form=form_of(source.name))
    decide("50", label="trial-batch@1")
    for _ in range(6):
        opening = BatchOpening(tenant_id=uuid4(), endpoint=endpoint("trial-batch@1"), manifest=manifest, shards=1)
        batch = batch_openings.open_batch(opening, now=NOW)
        assert batch.agent == canaries.agent_for(endpoint("trial-batch@1"), batch.pk)
    assert Batch.objects.count() == 6


def test_what_a_schedule_fires_goes_to_the_version_of_its_job(db: None) -> None:
    decide("50", label="trial-cycle@1")
    terms = schedules.ScheduleTerms(
        tenant_id=uuid4(), name="cycle", endpoint=endpoint("trial-cycle@1"), cron="0 9 * * *", timezone="UTC", input={"text": "hello"}
    )
    schedule = schedules.create(terms, now=NOW)
    for minutes in range(6):
        job = schedules.fire(schedule.pk, now=NOW + timedelta(minutes=minutes)).job
        assert job.agent == canaries.agent_for(endpoint("trial-cycle@1"), job.pk)


def test_a_hold_on_the_canarys_version_keeps_only_its_own_out(db: None) -> None:
    a_process("p0", slots=100)
    decide("50", label="trial-chat@1")
    holds.hold(HoldScope.AGENT, "trial@2", reason="looks worse", by=None, now=NOW)
    share, own = (next(each for each in IDS if Canary(2, 50).takes(each) is wanted) for wanted in (True, False))
    for session_id in (share, own):
        a_session(UUID(int=7), id=session_id)

    def ask(session_id: UUID) -> str:
        opening = Opening(tenant_id=UUID(int=7), endpoint=endpoint("trial-chat@1"), input={"text": "hello"}, session_id=session_id)
        return Turn.objects.get(pk=turn_openings.open_turn(opening, now=NOW).turn_id).agent

    with pytest.raises(AdmissionHeld):
        ask(share)
    assert ask(own) == "trial@1"


@pytest.mark.parametrize(
    ("percent", "version", "field"),
    [("100", 2, "/percent"), ("-1", 2, "/percent"), ("5", 1, "/agent_version"), ("5", 9, "/agent_version"), ("5", 3, "/agent_version")],
)
def test_what_cannot_be_a_canary_is_refused_by_its_field(db: None, percent: str, version: int, field: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        decide(percent, version=version)

    assert refused.value.facts["field"] == field
    assert not CanaryChange.objects.exists()


def test_a_canary_of_nothing_is_refused(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownEndpoint):
        decide("5", label="nothing@1")
    book = declared.book()
    retired = type(book)({**book.by_label, "trial-job@1": replace(endpoint(), successor="trial-mute@1")})
    monkeypatch.setattr(declared, "book", cache(lambda: retired))
    with pytest.raises(EndpointRetired):
        decide("5")


def test_a_canary_can_always_be_ended_though_its_version_is_gone(db: None) -> None:
    assert decide("0", version=9).percent == 0


def test_the_database_refuses_a_share_that_is_none(db: None) -> None:
    with pytest.raises(IntegrityError, match="canary_takes_a_part_or_nothing"), transaction.atomic():
        CanaryChange.objects.create(endpoint="x@1", agent_version=2, percent=100, reason="r", changed_at=NOW)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (9, "no agent trial@9 is registered to be its canary; there are trial@1, trial@2, trial@3"),
        (3, "judged by another rubric"),
        (1, "takes all of its runs already"),
    ],
)
def test_check_refuses_a_declared_canary_that_could_not_run(monkeypatch: pytest.MonkeyPatch, version: int, words: str) -> None:
    book = declared.book()
    changed = type(book)({**book.by_label, "trial-job@1": replace(endpoint(), canary=Canary(version, 5))})
    monkeypatch.setattr(declared, "book", cache(lambda: changed))
    found = [message.msg for message in run_checks(tags=["endpoints"]) if message.id == "invocation.E002"]

    assert [words in why for why in found if why.startswith("trial-job@1: ")] == [True]


def test_a_canary_guards_what_the_own_version_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.domain import registry

    def no_swearing(text: str, plan: Plan) -> Finding | None:
        return None

    declared.load_agents()
    own = registry.find("trial", 1)
    monkeypatch.setitem(registry._known, ("trial", 1), replace(own, verifiers=(no_swearing,)))

    assert contracts.canary_faults(endpoint(), Canary(2, 5)) == ["trial@2 lacks verifiers of trial@1: no_swearing."]


def test_a_migration_refuses_a_decision_whose_version_a_deploy_took_away(db: None) -> None:
    CanaryChange.objects.create(endpoint="trial-job@1", agent_version=9, percent=5, reason="r", changed_at=NOW)
    CanaryChange.objects.create(endpoint="gone@1", agent_version=9, percent=5, reason="r", changed_at=NOW)
    found = [message.msg for message in run_checks(databases=["default"]) if message.id == "invocation.E004"]
    assert [why.startswith("trial-job@1: no agent trial@9") for why in found] == [True]

    decide("0", version=9)
    assert not [message for message in run_checks(databases=["default"]) if message.id == "invocation.E004"]


def test_the_lock_file_knows_no_canary() -> None:
    assert contract(replace(endpoint(), canary=Canary(2, 5))) == contract(endpoint())

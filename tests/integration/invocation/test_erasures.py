"""Erasures: a subject's jobs and turns are stopped, then emptied of every word; rows and bill stay; broken off it goes on."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from structlog.testing import capture_logs

from agents.domain.steps import Step, StepKey
from invocation.domain.errors import DeadLetterDiscarded, ResultExpired, StaleMove, TooManyErasures
from invocation.domain.jobs import JobState, Move
from invocation.domain.redrives import AgentChoice, Edit
from invocation.domain.turns import TurnState
from invocation.gateways import objects, streams
from invocation.gateways.stores import LocalStore
from invocation.models import (
    Callback,
    ContextRecord,
    Discard,
    Erasure,
    Firing,
    Job,
    JobEvent,
    Outbox,
    Redrive,
    RedriveMember,
    RunRecord,
    Schedule,
    Turn,
)
from invocation.selectors.results import result_of
from invocation.services import attempts, contexts, erasures, jobs, journals, lifecycle, redriving, results, targets
from quota.models import LedgerEntry, Tenant
from tests.integration.invocation.completing import a_run, complete, fence_of
from tests.integration.invocation.finishing import a_line
from tests.integration.invocation.rows import NOW, a_job, a_session, a_tenant, a_turn

pytestmark = pytest.mark.django_db
SUBJECT = "reader-7"
WORD = "quetzal"
"""A word that a subject said; nothing may hold it afterwards."""
LARGE = f"{WORD} " * 10_000
SETTLED = timedelta(seconds=6)


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


def asked(tenant_id: UUID, subject: str = SUBJECT) -> Erasure:
    return erasures.ask(tenant_id, subject, by="key 1", now=datetime.now(UTC))


def carried_out(erasure: Erasure, *, after: timedelta = SETTLED) -> Erasure:
    while erasures.carry_on(erasure, now=datetime.now(UTC) + after):
        pass
    erasure.refresh_from_db()
    return erasure


def working(tenant_id: UUID, **columns: Any) -> Job:
    said = {"input": {"text": WORD}, "subject": SUBJECT, "metadata": {"who": WORD}, "answers": {"q": WORD}, "progress": {"note": WORD}}
    names = {"ordering_key": WORD, "idempotency_key": f"{WORD} {uuid4()}", "fingerprint": "f"}
    return a_job(JobState.WORKING, tenant_id=tenant_id, **{**said, **names, **columns})


def told_all(tenant_id: UUID, *, text: str = WORD) -> Job:
    """A completed job of the subject whose word is wherever a word can be."""
    contexts.bump(tenant_id, "chat", now=NOW)
    job = working(tenant_id, context_key="chat", context_version=1, relevance="annotate")
    journals.record_step(fence_of(job), StepKey("look", 1), Step({"found": WORD}, "f" * 16), [a_line(job)])
    journals.record_step(fence_of(job), StepKey("read", 1), Step({"found": LARGE}, "f" * 16), [])
    lifecycle.note(job.pk, "progress", {"note": WORD}, now=NOW)
    Callback.objects.create(job=job, key="paid", token_sha256=uuid4().hex * 2, sealed_url="u", value={"said": WORD}, came_at=NOW)
    complete(job, text=text)
    return Job.objects.get(pk=job.pk)


def failed(tenant_id: UUID) -> Job:
    job = working(tenant_id)
    said = {"sentence": f"No {WORD}.", "remedy": f"Not {WORD}.", "broke": f"KeyError: {WORD}"}
    error = {"code": "declined", "cause": "bad_input", **said}
    given = lifecycle.held(fence_of(job), error=error, cause="bad_input", reason="declined", charged=1)
    lifecycle.move_one(Move.BURY, given, now=NOW)
    return Job.objects.get(pk=job.pk)


def cancelled(tenant_id: UUID) -> Job:
    job = a_job(JobState.QUEUED, tenant_id=tenant_id, subject=SUBJECT)
    jobs.cancel(job.pk, reason=f"not {WORD}", now=NOW)
    return Job.objects.get(pk=job.pk)


def tables_with(word: str) -> list[str]:
    """Return the tables, of any app, of which a row holds the word anywhere."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_models():
            if model._meta.managed and not model._meta.proxy:
                cursor.execute(f'SELECT FROM "{model._meta.db_table}" AS row WHERE row::text LIKE %s LIMIT 1', [f"%{word}%"])
                if cursor.rowcount:
                    found.append(model._meta.db_table)
    return found


def files_with(store: Path, word: str) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


@pytest.mark.usefixtures("wiped")
class TestWords:
    def test_no_word_of_a_job_is_left_in_any_table_or_file(self, store: Path) -> None:
        tenant = uuid4()
        told_all(tenant), told_all(tenant, text=LARGE), failed(tenant), cancelled(tenant)
        assert len(tables_with(WORD)) >= 6
        assert files_with(store, WORD)

        done = carried_out(asked(tenant))

        assert (done.finished_at is not None, done.jobs_stopped, done.jobs_erased) == (True, 0, 4)
        assert tables_with(WORD) == []
        assert tables_with(SUBJECT) == []
        assert files_with(store, WORD) == []

    def test_the_bare_rows_the_runs_and_the_bill_stay(self) -> None:
        job = told_all(uuid4())
        carried_out(asked(job.tenant_id))
        left = Job.objects.get(pk=job.pk)

        assert (left.state, left.endpoint, left.attempt, left.subject, left.input) == ("completed", job.endpoint, 1, "", {})
        assert left.finished_at == job.finished_at
        assert [(event.type, event.data) for event in JobEvent.objects.filter(job=job, type="job.completed")] == [
            ("job.completed", {"move": "complete", "attempt": 1})
        ]
        assert RunRecord.objects.filter(source_id=job.pk).count() == 1
        assert LedgerEntry.objects.filter(tenant_id=job.tenant_id).count() == 1

    def test_a_failure_keeps_its_code_and_its_cause(self) -> None:
        job = failed(uuid4())
        carried_out(asked(job.tenant_id))
        left = Job.objects.get(pk=job.pk)

        assert (left.state, left.cause, left.reason, left.broke) == ("failed", "bad_input", "declined", "")
        assert left.error == {"code": "declined", "sentence": "Erased.", "cause": "bad_input", "remedy": ""}

    def test_an_erased_dead_letter_is_closed_for_good_and_cannot_be_started_again(self) -> None:
        job, redriven, discarded = (failed(tenant) for tenant in [uuid4()] * 3)
        again = redriving.redrive(redriven.pk, now=NOW).job_id
        Discard.objects.create(job=discarded, reason="no use", by="ops", at=NOW)
        carried_out(asked(job.tenant_id))

        for edit in (Edit(), Edit(input={"text": "another"})):
            with pytest.raises(DeadLetterDiscarded, match="erased"):
                redriving.redrive(job.pk, now=NOW, edit=edit)
        with pytest.raises(StaleMove, match=str(again)):
            redriving.redrive(redriven.pk, now=NOW)
        assert set(Discard.objects.values_list("job", "reason", "by")) == {
            (job.pk, erasures.CLOSED, "key 1"),
            (discarded.pk, "no use", "ops"),
        }

    def test_the_result_is_gone_for_who_asks(self) -> None:
        job = told_all(uuid4())
        carried_out(asked(job.tenant_id))

        with pytest.raises(ResultExpired):
            result_of(Job.objects.get(pk=job.pk))
        assert ContextRecord.objects.get().answer_job_id is None

    def test_what_a_firing_wrote_to_its_target_is_removed(self, store: Path) -> None:
        job = told_all(uuid4())
        terms = {"endpoint": "trial-cycle@1", "cron": "0 9 * * *", "timezone": "UTC", "input": {}, "created_at": NOW, "next_fire_at": NOW}
        schedule = Schedule.objects.create(tenant_id=job.tenant_id, name="daily", **terms)
        firing = Firing.objects.create(schedule=schedule, due_at=NOW, fired_at=NOW, job=job, state="completed", finished_at=NOW)
        objects.write_whole(Path(objects.store_of(job.tenant_id).at(targets.target_of(firing))), WORD.encode())

        carried_out(asked(job.tenant_id))
        assert files_with(store, WORD) == []

    def test_an_input_that_was_edited_for_a_redrive_goes_too(self) -> None:
        job = failed(uuid4())
        terms = {
            "state": "completed",
            "rate": 1.0,
            "agent": str(AgentChoice.ORIGINAL),
            "reason": "r",
            "by": "ops",
            "total": 1,
            "refused": 1,
        }
        moments = {"opened_at": NOW, "paced_at": NOW, "finished_at": NOW}
        redrive = Redrive.objects.create(tenant_id=job.tenant_id, input={"text": WORD}, **terms, **moments)
        RedriveMember.objects.create(redrive=redrive, job_id=job.pk, code="input_invalid", sentence=f"No {WORD}.")

        carried_out(asked(job.tenant_id))
        assert tables_with(WORD) == []

    def test_who_copied_words_is_told_in_the_same_transaction(self) -> None:
        job = told_all(uuid4())
        assert list(Outbox.objects.values_list("topic", flat=True)) == ["run.finished"]
        carried_out(asked(job.tenant_id))

        assert list(Outbox.objects.values_list("topic", "run_id")) == [(erasures.FORGOTTEN, job.pk)]

    def test_others_words_stay(self, store: Path) -> None:
        tenant = uuid4()
        theirs, strangers = told_all(tenant, text=LARGE), told_all(uuid4())
        Job.objects.filter(pk=theirs.pk).update(subject="reader-8")

        done = carried_out(asked(tenant))

        assert done.jobs_erased == 0
        assert Job.objects.get(pk=theirs.pk).input == Job.objects.get(pk=strangers.pk).input == {"text": WORD}
        assert len(files_with(store, WORD)) == 1
        assert {job.steps.count() for job in (theirs, strangers)} == {2}


@pytest.mark.usefixtures("wiped")
class TestOpenJobs:
    @pytest.mark.parametrize("state", [JobState.QUEUED, JobState.DISPATCHED, JobState.WAITING, JobState.INPUT_REQUIRED])
    def test_what_is_open_is_cancelled_first_and_then_erased(self, state: JobState) -> None:
        job = a_job(state, subject=SUBJECT, input={"text": WORD})
        done = carried_out(asked(job.tenant_id))
        left = Job.objects.get(pk=job.pk)

        assert (left.state, left.reason, left.input, left.subject) == ("cancelled", "forgotten", {}, "")
        assert (done.jobs_stopped, done.jobs_erased, done.finished_at is not None) == (1, 1, True)

    def test_what_a_worker_holds_is_asked_to_stop_and_waited_for(self) -> None:
        job = working(uuid4())
        erasure = carried_out(asked(job.tenant_id))
        assert (erasure.finished_at, erasure.subject, erasure.jobs_stopped) == (None, SUBJECT, 1)
        assert Job.objects.get(pk=job.pk).state == "cancelling"

        attempts.confirm_cancel(fence_of(job), a_run(job, outcome="cancelled"))
        done = carried_out(erasure)
        assert (done.finished_at is not None, done.jobs_stopped, done.jobs_erased) == (True, 1, 1)
        assert tables_with(WORD) == []

    def test_children_go_with_their_parent(self) -> None:
        parent = a_job(JobState.WAITING, subject=SUBJECT, input={"text": WORD})
        born = {"parent": parent, "root_id": parent.pk, "depth": 1, "child_key": "spawn/0"}
        child = a_job(JobState.QUEUED, tenant_id=parent.tenant_id, subject=SUBJECT, input={"text": WORD}, **born)

        assert carried_out(asked(parent.tenant_id)).jobs_erased == 2
        assert Job.objects.get(pk=child.pk).state == "cancelled"
        assert tables_with(WORD) == []


@pytest.mark.usefixtures("wiped")
class TestTurns:
    def ended(self, tenant_id: UUID, **columns: Any) -> Turn:
        said = {"subject": SUBJECT, "input": {"text": WORD}, "text": WORD, "output": {"text": WORD}, "metadata": {"who": WORD}}
        last = {"seq": 3, "type": "turn.completed", "at": NOW.isoformat(), "data": {"turn": "t", "text": WORD}}
        return a_turn(TurnState.COMPLETED, session=a_session(tenant_id), last_event=last, **{**said, **columns})

    def test_no_word_of_a_turn_is_left_and_its_place_in_the_session_is(self) -> None:
        turn = self.ended(uuid4(), error={"code": "c", "sentence": WORD})
        done = carried_out(asked(turn.tenant_id))
        left = Turn.objects.get(pk=turn.pk)

        assert (done.turns_erased, done.finished_at is not None) == (1, True)
        assert tables_with(WORD) == []
        assert left.last_event is not None
        assert (left.number, left.last_event["seq"], left.last_event["type"]) == (1, 3, "turn.completed")
        assert left.last_event["data"]["turn"] == str(turn.pk)

    def test_the_log_of_its_session_goes(self, wiped: redis.Redis) -> None:
        turn, other = self.ended(uuid4()), self.ended(uuid4())
        for each in (turn, other):
            wiped.xadd(streams.key(str(each.session_id)), {"e": WORD})

        carried_out(asked(turn.tenant_id))
        assert [wiped.exists(streams.key(str(each.session_id))) for each in (turn, other)] == [0, 1]

    def test_an_open_turn_is_stopped_and_its_last_words_are_waited_for(self) -> None:
        turn = a_turn(TurnState.QUEUED, session=a_session(uuid4()), subject=SUBJECT, input={"text": WORD})
        erasure = carried_out(asked(turn.tenant_id), after=timedelta())
        assert (erasure.finished_at, Turn.objects.get(pk=turn.pk).state) == (None, "cancelled")

        assert carried_out(erasure).turns_erased == 1


@pytest.mark.usefixtures("wiped")
class TestOperation:
    def test_asked_again_while_it_goes_on_it_is_the_same(self) -> None:
        tenant = uuid4()
        working(tenant)

        assert asked(tenant).pk == asked(tenant).pk
        assert asked(tenant, "reader-8").pk != asked(tenant).pk
        assert asked(uuid4()).pk != asked(tenant).pk

    def test_a_finished_one_keeps_the_hash_alone_and_may_be_asked_again(self) -> None:
        tenant = uuid4()
        done = carried_out(asked(tenant))

        assert (done.subject, done.subject_sha256) == ("", erasures.subject_hash(tenant, SUBJECT))
        assert asked(tenant).pk != done.pk

    def test_the_database_takes_no_finished_one_that_still_names_its_subject(self) -> None:
        erasure = asked(uuid4())

        for wrong in ({"finished_at": NOW}, {"subject": ""}):
            with pytest.raises(IntegrityError), transaction.atomic():
                Erasure.objects.filter(pk=erasure.pk).update(**wrong)

    def test_a_job_that_is_submitted_meanwhile_does_not_outlive_it(self) -> None:
        erasure = asked(uuid4())
        late = a_job(JobState.QUEUED, tenant_id=erasure.tenant_id, subject=SUBJECT)

        assert carried_out(erasure).jobs_erased == 1
        assert Job.objects.get(pk=late.pk).state == "cancelled"

    @pytest.mark.parametrize("broken", ["remove_files_of", "drop"])
    def test_broken_off_anywhere_it_goes_on_and_leaves_nothing(self, broken: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process dies before the files are removed, or in the transaction that empties the rows."""
        job = told_all(uuid4(), text=LARGE)
        erasure = asked(job.tenant_id)
        place = results if broken == "remove_files_of" else journals

        def dies(*_: object) -> None:
            raise SystemExit

        with monkeypatch.context() as patched:
            patched.setattr(place, broken, dies)
            with pytest.raises(SystemExit):
                carried_out(erasure)
        assert Job.objects.get(pk=job.pk).subject == SUBJECT

        assert carried_out(erasure).jobs_erased == 1
        assert tables_with(WORD) == []
        assert files_with(store, WORD) == []

    def test_many_pages_and_two_sweeps_count_each_job_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(erasures, "PAGE", 2)
        erasure = asked(uuid4())
        for _ in range(5):
            a_job(JobState.QUEUED, tenant_id=erasure.tenant_id, subject=SUBJECT)

        erasures.sweep(now=datetime.now(UTC))
        erasures.sweep(now=datetime.now(UTC))
        erasure.refresh_from_db()
        assert (erasure.jobs_stopped, erasure.jobs_erased, erasure.finished_at is not None) == (5, 5, True)

    def test_a_sweep_without_time_does_a_page_and_the_next_goes_on_after_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(erasures, "PAGE", 2)
        open_ones = [asked(uuid4()) for _ in range(2)]
        for erasure in open_ones:
            for _ in range(3):
                a_job(JobState.COMPLETED, tenant_id=erasure.tenant_id, subject=SUBJECT)

        place, done = erasures.Place(), []
        for _ in range(3):
            erasures.sweep(now=datetime.now(UTC), within=timedelta(), place=place)
            done.append(list(Erasure.objects.order_by("pk").values_list("jobs_erased", flat=True)))
        assert done == [[2, 0], [2, 2], [3, 2]]

    def test_an_erasure_that_breaks_off_stops_no_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The object store does not let go of a file of the first; when it does, the first is finished too."""
        first, second = told_all(uuid4(), text=LARGE), told_all(uuid4(), text=LARGE)
        asked(first.tenant_id)
        asked(second.tenant_id)
        remove = LocalStore.remove

        def clings(store: LocalStore, path: str) -> None:
            if str(first.tenant_id) in store.location:
                raise PermissionError(path)
            remove(store, path)

        with monkeypatch.context() as patched, capture_logs() as said:
            patched.setattr(LocalStore, "remove", clings)
            erasures.sweep(now=datetime.now(UTC), place=erasures.Place())
        assert [each.tenant_id for each in Erasure.objects.exclude(finished_at=None)] == [second.tenant_id]
        assert "erasure_broke_off" in {line["event"] for line in said}

        erasures.sweep(now=datetime.now(UTC))
        assert not Erasure.objects.filter(finished_at=None).exists()

    def test_a_tenant_has_a_bounded_number_of_open_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(erasures, "MOST_OPEN", 2)
        tenant = uuid4()
        first = asked(tenant, "reader-1")
        asked(tenant, "reader-2")
        with pytest.raises(TooManyErasures):
            asked(tenant, "reader-3")

        assert asked(tenant, "reader-1").pk == first.pk
        assert asked(uuid4(), "reader-3")
        carried_out(first)
        assert asked(tenant, "reader-3")


@pytest.mark.usefixtures("wiped")
class TestCommand:
    def test_it_returns_when_all_is_erased(self) -> None:
        tenant = a_tenant()
        told_all(tenant)
        said = io.StringIO()
        call_command("forget", tenant=Tenant.objects.get(pk=tenant).name, subject=SUBJECT, stdout=said)

        assert "stopped 0 jobs; erased 1 jobs and 0 turns" in said.getvalue()
        assert tables_with(WORD) == []

    def test_a_tenant_that_is_none_is_refused(self) -> None:
        with pytest.raises(CommandError, match="no tenant"):
            call_command("forget", tenant="nobody", subject=SUBJECT)

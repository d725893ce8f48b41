"""The whole machine of jobs on PostgreSQL: whatever people, workers, zombies and clocks do in any order, the rules hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from agents.domain.errors import BudgetExceeded, FanOutExceeded, ProviderUnavailable
from agents.domain.steps import Step, StepKey
from agents.domain.waits import ForAnswers, ForChildren, ForMoment, Question, Spawn, Wait
from invocation.domain.errors import LaneBusy, NotWaiting, StaleMove
from invocation.domain.jobs import HELD_BY_A_WORKER, IN_FLIGHT, MAY_EXPIRE, TERMINAL, Fence, JobState, OrderingPolicy
from invocation.domain.rounds import START
from invocation.domain.waits import MOST_DEPTH
from invocation.models import Job, JobEvent, Outbox, Process, Result, RunRecord, StepRecord
from invocation.services import admission, attempts, claims, jobs, journals, parking, processes, quarantine, redriving, rescue, spawning
from invocation.services.claims import Claim
from invocation.services.submission import submit
from quota.domain.budgets import Spending
from quota.domain.classes import PriorityClass
from quota.domain.days import UNLIMITED
from quota.models import LedgerEntry
from quota.selectors import terms_of_tenants
from tests.integration.invocation import shadow
from tests.integration.invocation.finishing import a_line, a_run, complete
from tests.integration.invocation.rows import a_submission, a_tenant
from tests.integration.invocation.shadow import Shadow

REFUSALS = (StaleMove, LaneBusy, NotWaiting, BudgetExceeded, FanOutExceeded)
A_CALL = Decimal("0.001")
"""What each run and each step of the tests' makes cost."""
LATER = timedelta(days=30)
FOR_EVER = timedelta(days=365)
CAPS = {"free": 2, "house": None}
ANY = st.integers(0, 1_000_000)
QUESTION = Question(key="agreed", sentence="Agreed?", schema={"type": "boolean"})
COUNTED = (JobEvent, StepRecord, Result, RunRecord, LedgerEntry, Outbox)


def now() -> datetime:
    return datetime.now(UTC)


class Machine(RuleBasedStateMachine):
    """Each rule does one thing by the real service, and the same to the shadows; what is refused must change nothing at all."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = transaction.savepoint()
        self.shadows: list[Shadow] = []
        self.messages: list[tuple[UUID, int]] = []
        self.fences: list[Fence] = []
        self.alive: list[UUID] = []
        self.dead: list[UUID] = []
        self.count = 0

    @initialize()
    def open(self) -> None:
        self.tenants = {a_tenant(plan): cap for plan, cap in CAPS.items()}
        for _ in range(2):
            self.register()
        for tenant in self.tenants:
            for lane in ("a", None):
                self.add(submit(self.submission(tenant, ordering_key=lane), now=now()).job_id, tenant, lane=lane)
        self.work(0)

    def teardown(self) -> None:
        try:
            if self.shadows:
                self.bring_to_an_end()
        finally:
            transaction.savepoint_rollback(self.begin)

    # What API consumers do.

    @rule(n=ANY, lane=st.sampled_from([None, "a", "b"]), policy=st.sampled_from(OrderingPolicy), expires=st.booleans())
    def submit(self, n: int, lane: str | None, policy: OrderingPolicy, *, expires: bool) -> None:
        tenant = self.tenant(n)
        terms = {"ordering_key": lane, "ordering_policy": policy, "expires_at": now() + LATER if expires else None}
        ahead = self.lane(tenant, lane)
        if ahead and policy is OrderingPolicy.REJECT:
            self.refused(lambda: submit(self.submission(tenant, **terms), now=now()))
            return
        accepted = submit(self.submission(tenant, **terms), now=now())
        if policy is OrderingPolicy.REPLACE:
            shadow.stop(ahead)
        self.add(accepted.job_id, tenant, lane=lane, expires=expires)

    @precondition(lambda self: self.shadows)
    @rule(n=ANY)
    def cancel(self, n: int) -> None:
        job = self.job(n)
        too_late = job.state in {JobState.COMPLETED, JobState.FAILED}
        is_news = job.is_open and job.state is not JobState.CANCELLING
        self.does(not too_late, lambda: jobs.cancel(job.id, reason="asked", now=now()), changes=is_news)
        shadow.stop([job])

    @precondition(lambda self: self.shadows)
    @rule(n=ANY, key=st.sampled_from(["agreed", "other"]))
    def answer(self, n: int, key: str) -> None:
        job = self.job(n, JobState.INPUT_REQUIRED)
        is_asked = job.state is JobState.INPUT_REQUIRED and key == QUESTION.key
        if self.does(is_asked, lambda: jobs.answer(job.id, key=key, value=True, now=now())):
            job.queue()

    @precondition(lambda self: self.shadows)
    @rule(n=ANY)
    def redrive(self, n: int) -> None:
        job = self.job(n, JobState.FAILED)
        if job.state is not JobState.FAILED or job.is_redriven:
            self.refused(lambda: redriving.redrive(job.id, now=now()))
            return
        again = redriving.redrive(job.id, now=now())
        job.is_redriven = True
        self.add(again.job_id, job.tenant, lane=job.lane, cap=job.cap)

    # What the dispatcher does.

    @precondition(lambda self: self.in_state(JobState.QUEUED))
    @rule()
    def admit(self) -> None:
        scene = admission.look(PriorityClass.P1, place=START, now=now())
        admitted = admission.admit(PriorityClass.P1, scene, terms=terms_of_tenants(), place=START, now=now())
        for each in admitted.picked:
            job = self.by_id(each.job_id)
            assert (job.state, job.attempt, job.is_alone) == (JobState.QUEUED, each.attempt, each.is_alone)
            assert job.lane is None or self.lane(job.tenant, job.lane)[0] is job
            job.state = JobState.DISPATCHED
            self.messages.append((each.job_id, each.attempt))
        for tenant, cap in self.tenants.items():
            in_flight = [job for job in self.shadows if job.tenant == tenant and job.state in IN_FLIGHT]
            assert cap is None or len([job for job in in_flight if job.state is not JobState.CANCELLING]) <= cap

    @precondition(lambda self: self.orphans())
    @rule()
    def sweep_the_lost(self) -> None:
        rescue.rescue_jobs(now=now())
        shadow.rescue(self.orphans())

    @precondition(lambda self: self.in_state(JobState.DISPATCHED))
    @rule()
    def recall(self) -> None:
        rescue.recall_lost_messages(now=now() + LATER)
        for job in self.in_state(JobState.DISPATCHED):
            job.queue()

    @precondition(lambda self: any(job.is_timed for job in self.shadows))
    @rule()
    def wake(self) -> None:
        jobs.wake_due(now=now() + LATER)
        shadow.wake(self.shadows)

    @precondition(lambda self: any(job.expires and job.state in MAY_EXPIRE for job in self.shadows))
    @rule()
    def expire(self) -> None:
        jobs.expire_due(now=now() + 2 * LATER)
        shadow.end([job for job in self.shadows if job.expires and job.state in MAY_EXPIRE], JobState.CANCELLED)

    # What worker processes do, and what happens to them.

    @precondition(lambda self: self.messages)
    @rule(n=ANY, by=ANY)
    def claim(self, n: int, by: int) -> None:
        """Any message ever sent, once more: by a living process, or by one that others think dead."""
        job_id, attempt = self.messages[-1 - n % len(self.messages)]
        owner, job = self.process(by), self.by_id(job_id)
        fits = job.state is JobState.DISPATCHED and job.attempt == attempt
        before = {} if fits else self.picture()
        [claimed] = claims.claim([Claim(job_id, attempt, owner)])
        assert (claimed is not None) is fits
        if claimed is None:
            assert self.picture() == before
            return
        job.state, job.attempt, job.owner = JobState.WORKING, attempt + 1, owner
        self.fences.append(claimed.fence)

    @precondition(lambda self: self.in_state(JobState.QUEUED, JobState.DISPATCHED))
    @rule(by=ANY)
    def work(self, by: int) -> None:
        """Whatever can run is admitted, sent and claimed; messages of earlier attempts come again before."""
        self.admit()
        for job in self.in_state(JobState.DISPATCHED):
            mine = {message: len(self.messages) - 1 - place for place, message in enumerate(self.messages) if message[0] == job.id}
            for place in mine.values():
                self.claim(place, by)

    @rule(n=ANY)
    def die(self, n: int) -> None:
        process = self.alive[n % len(self.alive)]
        processes.end_lease(process, now=now())
        self.alive.remove(process)
        self.dead.append(process)
        self.register()

    @precondition(lambda self: self.held())
    @rule(n=ANY)
    def crash(self, n: int) -> None:
        """A process that holds something dies, and what it held runs again."""
        fence = self.held()[n % len(self.held())]
        if UUID(fence.owner) in self.alive:
            self.die(self.alive.index(UUID(fence.owner)))
        self.sweep_the_lost()
        self.work(n)

    @precondition(lambda self: self.dead)
    @rule(n=ANY)
    def thaw(self, n: int) -> None:
        """It was frozen, not dead: it holds what nobody took from it meanwhile."""
        process = self.dead.pop(n % len(self.dead))
        processes.revive(process, now=now(), lease=FOR_EVER)
        self.alive.append(process)

    @rule(n=ANY)
    def drain(self, n: int) -> None:
        process = self.process(n)
        attempts.return_broken_off(attempts.held_by(process))
        held = [job for job in self.shadows if job.owner == process]
        for job in held:
            if job.state is JobState.WORKING:
                job.queue()
        shadow.end([job for job in held if job.state is JobState.CANCELLING], JobState.CANCELLED)

    @precondition(lambda self: self.in_state(JobState.DISPATCHED))
    @rule()
    def keep_a_line(self) -> None:
        waiting = {job.id: job.attempt for job in self.in_state(JobState.DISPATCHED)}

        assert quarantine.keep_trusted(waiting, now=now()) == frozenset(waiting)

    # What an attempt writes: by whoever holds the job, and by every zombie.

    @precondition(lambda self: self.fences)
    @rule(n=ANY)
    def complete(self, n: int) -> None:
        fence, job = self.fence(n)
        if self.writes(job, fence, lambda: complete(fence, {"text": "done"}, a_run(self.row(job)))):
            job.own_usd += A_CALL
            shadow.end([job], JobState.COMPLETED)

    @precondition(lambda self: self.fences)
    @rule(n=ANY, curable=st.booleans())
    def fail(self, n: int, *, curable: bool) -> None:
        fence, job = self.fence(n)
        tries = 3 if curable else 1
        given: Mapping[str, Any] = {"failures": job.failures, "tries": tries}
        if not self.writes(job, fence, lambda: attempts.fail(fence, ProviderUnavailable("gone"), run=a_run(self.row(job)), **given)):
            return
        job.failures += 1
        job.own_usd += A_CALL
        if job.failures < tries:
            job.park(JobState.WAITING, is_timed=True)
        else:
            shadow.end([job], JobState.FAILED)

    @precondition(lambda self: self.fences)
    @rule(n=ANY, timed=st.booleans())
    def ask(self, n: int, *, timed: bool) -> None:
        self.park(self.fence(n)[0], ForAnswers((QUESTION,), until=now() if timed else None), JobState.INPUT_REQUIRED, is_timed=timed)

    @precondition(lambda self: self.fences)
    @rule(n=ANY)
    def sleep(self, n: int) -> None:
        self.park(self.fence(n)[0], ForMoment(until=now()), JobState.WAITING, is_timed=True)

    @precondition(lambda self: any(self.by_id(fence.job_id).children for fence in self.fences))
    @rule(n=ANY, timed=st.booleans())
    def join(self, n: int, *, timed: bool) -> None:
        parents = [(fence, job) for fence, job in map(self.with_job, self.held() + self.fences) if job.children]
        fence, job = parents[n % len(parents)]
        wait = ForChildren(tuple(str(child.id) for child in job.children), until=now() if timed else None)
        self.park(fence, wait, JobState.WAITING, is_timed=timed, awaited=tuple(job.children))

    @precondition(lambda self: self.fences)
    @rule(n=ANY, many=st.integers(1, 2), cap=st.sampled_from([Decimal("0.01"), Decimal("0.2")]))
    def spawn(self, n: int, many: int, cap: Decimal) -> None:
        fence, job = self.fence(n)
        spawn = Spawn(place=self.fresh(), endpoint="trial-job@1", inputs=({"text": "hello"},) * many)
        endpoint = spawning.endpoint_of(spawn, day=UNLIMITED)
        fits = job.depth < MOST_DEPTH and cap * many <= job.cap - job.spent - job.lent
        if not (job.is_held_by(fence) and fits):
            self.refused(lambda: spawning.spawn_children(fence, spawn, endpoint, cap=Spending(cap), now=now()))
            return
        made = spawning.spawn_children(fence, spawn, endpoint, cap=Spending(cap), now=now())
        for child_id in made:
            job.children.append(self.add(child_id, job.tenant, parent=job, cap=cap))

    @precondition(lambda self: self.fences)
    @rule(n=ANY)
    def record_a_step(self, n: int) -> None:
        fence, job = self.fence(n)
        write = lambda: journals.record_step(fence, StepKey(self.fresh(), 1), Step({"n": n}, "f" * 16), [a_line(self.row(job))])  # noqa: E731
        if self.does(job.is_held_by(fence), write):
            job.own_usd += A_CALL

    @precondition(lambda self: self.fences)
    @rule(n=ANY)
    def tell_progress(self, n: int) -> None:
        fence, job = self.fence(n)
        before = self.picture()
        attempts.tell_progress(fence, {"done": 1, "of": 2})

        assert (self.picture() != before) is job.is_held_by(fence)

    @precondition(lambda self: self.fences)
    @rule(n=ANY)
    def hand_back(self, n: int) -> None:
        fence, job = self.fence(n)
        if self.writes(job, fence, lambda: attempts.hand_back(fence, [])):
            job.queue()

    @precondition(lambda self: self.fences)
    @rule(n=ANY)
    def confirm_a_cancel(self, n: int) -> None:
        fence, job = self.fence(n, JobState.CANCELLING)
        write = lambda: attempts.confirm_cancel(fence, a_run(self.row(job)))  # noqa: E731
        if self.does(job.is_held_by(fence) and job.state is JobState.CANCELLING, write):
            job.own_usd += A_CALL
            shadow.end([job], JobState.CANCELLED)

    # What must be true after every step.

    @invariant()
    def every_job_stands_as_its_shadow(self) -> None:
        found = {row.pop("id"): row for row in Job.objects.values("id", *Shadow.FACTS)}
        for job in self.shadows:
            assert found[job.id] == job.facts(), job.id
        assert len(found) == len(self.shadows)

    @invariant()
    def histories_have_no_gap_and_at_most_one_end(self) -> None:
        events: dict[UUID, list[tuple[int, str]]] = {}
        for job_id, seq, kind in JobEvent.objects.order_by("seq").values_list("job_id", "seq", "type"):
            events.setdefault(job_id, []).append((seq, kind))
        last = dict(Job.objects.values_list("id", "event_seq"))
        for job in self.shadows:
            told = events[job.id]
            assert [seq for seq, _ in told] == list(range(1, last[job.id] + 1))
            ends = [kind for _, kind in told if kind.removeprefix("job.") in TERMINAL]
            assert ends == ([] if job.is_open else [f"job.{job.state}"])

    @invariant()
    def each_lane_has_one_head_and_it_is_the_oldest(self) -> None:
        behind = set(Job.objects.exclude(state__in=TERMINAL).filter(is_behind=True).values_list("id", flat=True))
        heads = Counter[tuple[UUID, str]]()
        for job in sorted(self.shadows, key=lambda job: job.id):
            if job.is_open and job.lane is not None:
                heads[job.tenant, job.lane] += 1
                assert (job.id in behind) is (heads[job.tenant, job.lane] > 1)
            else:
                assert job.id not in behind

    @invariant()
    def every_cent_is_in_the_ledger_once(self) -> None:
        booked = LedgerEntry.objects.aggregate(sum=Sum("cost_usd"))["sum"] or Decimal(0)

        assert booked == sum((job.own_usd for job in self.shadows), Decimal(0))

    def bring_to_an_end(self) -> None:
        """Nothing is stuck: with people that answer and workers that work, every job ends, and each parent before or after its children."""
        for _ in range(20 * len(self.shadows) + 20):
            if not any(job.is_open for job in self.shadows):
                break
            self.sweep_the_lost()
            self.recall()
            self.wake()
            self.work(0)
            while self.in_state(JobState.WORKING):
                states = [self.by_id(fence.job_id).state for fence in self.held()]
                self.complete(4 * states.index(JobState.WORKING))
            while self.in_state(JobState.CANCELLING):
                self.confirm_a_cancel(0)
            while self.in_state(JobState.INPUT_REQUIRED):
                self.answer(1, "agreed")
            self.every_job_stands_as_its_shadow()
        assert [job.state for job in self.shadows if job.is_open] == []
        self.histories_have_no_gap_and_at_most_one_end()
        self.every_cent_is_in_the_ledger_once()

    # How the rules choose, do and look.

    def register(self) -> None:
        process = uuid4()
        processes.register(process, priority_class="p1", slots=3, presence=process.int >> 66, now=now(), lease=FOR_EVER)
        self.alive.append(process)

    def add(self, job_id: UUID, tenant: UUID, *, cap: Decimal = Decimal("0.5"), **terms: Any) -> Shadow:
        job = Shadow(job_id, tenant, cap, **terms)
        self.shadows.append(job)
        return job

    def submission(self, tenant: UUID, **terms: Any) -> Any:
        return a_submission(tenant, endpoint="trial-job@1", **terms)

    def fresh(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def tenant(self, n: int) -> UUID:
        return list(self.tenants)[n % len(self.tenants)]

    def process(self, n: int) -> UUID:
        return [*self.alive, *self.dead][n % len(self.alive + self.dead)]

    def job(self, n: int, *preferred: JobState) -> Shadow:
        """Return a job, rather one in this state where there is one."""
        chosen = self.in_state(*preferred) if n % 4 else []
        return (chosen or self.shadows)[n % len(chosen or self.shadows)]

    def in_state(self, *states: JobState) -> list[Shadow]:
        return [job for job in self.shadows if job.state in states]

    def lane(self, tenant: UUID, lane: str | None) -> list[Shadow]:
        return [job for job in self.shadows if lane is not None and (job.tenant, job.lane) == (tenant, lane) and job.is_open]

    def by_id(self, job_id: UUID | str) -> Shadow:
        return next(job for job in self.shadows if str(job.id) == str(job_id))

    def held(self) -> list[Fence]:
        return [fence for fence in self.fences if self.by_id(fence.job_id).is_held_by(fence)]

    def fence(self, n: int, *preferred: JobState) -> tuple[Fence, Shadow]:
        """Return the right of an attempt that holds its job or, for one n in four, of any that ever did or never could; and its job."""
        held = [fence for fence in self.held() if self.by_id(fence.job_id).state in (preferred or HELD_BY_A_WORKER)]
        strangers = [fence._replace(owner=str(uuid4())) for fence in self.held()]
        fences = (held if n % 4 < 3 else []) or strangers + self.fences
        return self.with_job(fences[n // 4 % len(fences)])

    def with_job(self, fence: Fence) -> tuple[Fence, Shadow]:
        return fence, self.by_id(fence.job_id)

    def orphans(self) -> list[Shadow]:
        return [job for job in self.shadows if job.owner in self.dead]

    @staticmethod
    def row(job: Shadow) -> Job:
        return Job.objects.get(pk=job.id)

    def park(self, fence: Fence, wait: Wait, state: JobState, *, is_timed: bool, awaited: Sequence[Shadow] = ()) -> None:
        job = self.by_id(fence.job_id)
        if self.writes(job, fence, lambda: parking.park(fence, wait, [])):
            job.park(state, is_timed=is_timed, awaited=awaited)

    def writes(self, job: Shadow, fence: Fence, write: Callable[[], object]) -> bool:
        """Write as an attempt; whoever does not hold the job, or was asked to stop, is refused. Return whether it was written."""
        return self.does(job.is_held_by(fence) and job.state is JobState.WORKING, write)

    def does(self, allowed: bool, act: Callable[[], object], *, changes: bool = True) -> bool:  # noqa: FBT001
        if not allowed:
            self.refused(act)
            return False
        before = self.picture()
        act()
        assert (self.picture() != before) is changes
        return True

    def refused(self, act: Callable[[], object]) -> None:
        before = self.picture()
        with pytest.raises(REFUSALS):
            act()
        assert self.picture() == before

    @staticmethod
    def picture() -> Mapping[str, Any]:
        """Return all that a write could change."""
        return {
            "jobs": list(Job.objects.order_by("id").values()),
            "processes": list(Process.objects.order_by("id").values()),
            **{table.__name__: table.objects.count() for table in COUNTED},
        }


@pytest.mark.django_db
@pytest.mark.usefixtures("tried")
def test_whatever_happens_in_any_order_the_rules_of_jobs_hold() -> None:
    thorough = settings(max_examples=12, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    run_state_machine_as_test(Machine, settings=thorough)

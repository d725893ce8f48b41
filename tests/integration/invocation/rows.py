"""Rows as the services leave them, for tests that begin in the middle of a story."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from invocation.domain.budgets import Wish
from invocation.domain.jobs import HELD_BY_A_WORKER, PARKED, TERMINAL, JobState
from invocation.domain.turns import ENDED, TurnState
from invocation.gateways import declared
from invocation.models import Job, JobEvent, Process, Session, Turn
from invocation.services.submission import Submission
from quota.models import Plan, Tenant

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=10)
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
QUESTIONS: Mapping[str, Any] = MappingProxyType({"agreed": {"sentence": "Agreed?", "schema": {"type": "boolean"}}})
PLANS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "free": {"in_flight_p0": 2, "in_flight_p1": 2, "in_flight_p2": 2, "in_flight_p3": 2, "requests_per_minute": 120, "weight": 1},
        "pro": {"in_flight_p0": 20, "in_flight_p1": 20, "in_flight_p2": 20, "in_flight_p3": 20, "requests_per_minute": 3000, "weight": 4},
        "house": {"requests_per_minute": 1_000_000, "weight": 4},
    }
)


def a_tenant(plan: str = "pro", **terms: Any) -> UUID:
    """Make a tenant on a plan of this name; `terms` make the plan its own."""
    found, _ = Plan.objects.get_or_create(name=plan, defaults={**PLANS.get(plan, PLANS["house"]), **terms})
    return Tenant.objects.create(name=f"tenant {uuid4()}", plan=found).pk


def a_job(state: JobState = JobState.QUEUED, *, tenant_id: UUID | None = None, **columns: Any) -> Job:
    """Make a job in a state, with what each state's constraints ask for and one event of history."""
    columns.setdefault("owner", uuid4() if state in HELD_BY_A_WORKER else None)
    columns.setdefault("attempt", 1 if state in HELD_BY_A_WORKER | TERMINAL | PARKED else 0)
    tenant_id = tenant_id or uuid4()
    lane = Job.objects.filter(tenant_id=tenant_id, ordering_key=columns.get("ordering_key")).exclude(state__in=TERMINAL)
    columns.setdefault("is_behind", "ordering_key" in columns and lane.exists())
    job = Job.objects.create(
        tenant_id=tenant_id,
        state=state,
        **{
            "endpoint": "personalize@1",
            "agent": "mangaassist@1",
            "mode": "async-queue",
            "priority_class": "p1",
            "traceparent": TRACE,
            "event_seq": 1,
            "input": {"text": "hello"},
            "latency_budget_ms": 90_000,
            "cost_cap_usd": Decimal("0.5"),
            "token_cap": 1_000_000,
            "call_cap": 1_000,
            "tries": 3,
            "created_at": NOW,
            "queued_at": NOW,
            "dispatched_at": NOW if state is JobState.DISPATCHED else None,
            "started_at": NOW if state in HELD_BY_A_WORKER else None,
            "finished_at": NOW if state in TERMINAL else None,
            "due_at": NOW if state is JobState.WAITING else None,
            "questions": dict(QUESTIONS) if state is JobState.INPUT_REQUIRED else None,
            "cause": "provider" if state is JobState.FAILED else "",
            **columns,
        },
    )
    JobEvent.objects.create(job=job, seq=1, type="job.queued", at=NOW, data={"move": "submit"})
    return job


def a_process(priority_class: str = "p1", *, slots: int = 4, now: datetime = NOW, lease: timedelta = LEASE, **columns: Any) -> Process:
    """Make a worker process that lives until `now + lease`."""
    presence = uuid4().int >> 66
    return Process.objects.create(
        id=uuid4(),
        **{
            "priority_class": priority_class,
            "slots": slots,
            "host": "here",
            "pid": 1,
            "presence": presence,
            "started_at": now,
            "lease_until": now + lease,
            **columns,
        },
    )


def a_session(tenant_id: UUID | None = None, **columns: Any) -> Session:
    return Session.objects.create(tenant_id=tenant_id or uuid4(), endpoint="chat@1", created_at=NOW, **columns)


def a_turn(state: TurnState = TurnState.QUEUED, *, session: Session | None = None, now: datetime = NOW, **columns: Any) -> Turn:
    session = session or a_session()
    return Turn.objects.create(
        session=session,
        number=session.turns.count() + 1,
        tenant_id=session.tenant_id,
        state=state,
        **{
            "endpoint": "chat@1",
            "agent": "mangaassist@1",
            "mode": "streaming-sync",
            "traceparent": TRACE,
            "input": {"text": "hello"},
            "latency_budget_ms": 6_000,
            "cost_cap_usd": Decimal("0.05"),
            "token_cap": 60_000,
            "call_cap": 20,
            "received_at": now,
            "deadline": now + timedelta(seconds=6),
            "owner": uuid4() if state is TurnState.WORKING else None,
            "finished_at": now if state in ENDED else None,
            "last_event": {"seq": 1, "type": "turn.completed", "at": now.isoformat(), "data": {}} if state in ENDED else None,
            **columns,
        },
    )


WISHES = ("cost_usd", "tokens", "model_calls")


def a_submission(tenant_id: UUID, *, endpoint: str = "personalize@1", given: Mapping[str, Any] | None = None, **terms: Any) -> Submission:
    """Ask for a job; of the terms, what names a budget is its wish."""
    wish = Wish(**{name: terms.pop(name) for name in WISHES if name in terms})
    asked = {"text": "hello"} if given is None else given
    return Submission(tenant_id=tenant_id, endpoint=declared.book().find(endpoint), input=asked, wish=wish, **terms)


def told(job: Job | UUID) -> list[tuple[int, str]]:
    """Return the job's history: each event's seq and type."""
    job_id = job.pk if isinstance(job, Job) else job
    return list(JobEvent.objects.filter(job_id=job_id).order_by("seq").values_list("seq", "type"))


def snapshot(job: Job) -> dict[str, Any]:
    """Return every column of the job as it stands, with the number of its events, steps and results."""
    columns = Job.objects.filter(pk=job.pk).values().get()
    return {**columns, "events": job.events.count(), "steps": job.steps.count(), "result": hasattr(Job.objects.get(pk=job.pk), "result")}

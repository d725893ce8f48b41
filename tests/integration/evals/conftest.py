"""Finished runs and baselines for the tests of evals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from kombu import Queue

from agents.domain import registry
from config.celery import app
from evals.models import Baseline, Score
from invocation.domain.modes import Mode
from invocation.models import Outbox, RunRecord
from invocation.services.records import FINISHED
from tests.integration.agents.conftest import on_loop, shop
from tests.integration.evals import probe

__all__ = ["on_loop", "shop"]
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TENANT = uuid4()
PROBE = "probe@3"


def evidence(worth: Any = 1.0, **changed: Any) -> dict[str, Any]:
    return {
        "agent": PROBE,
        "mode": "scheduled-trigger",
        "input": {"text": "what is new?"},
        "facts": {"titles": 1},
        "output": {"text": "A new title.", "worth": worth},
        **changed,
    }


def finish(data: Any = None, *, run_id: UUID | None = None, tenant_id: UUID | None = TENANT) -> UUID:
    """Put a finished run into the outbox, on record as this tenant's (None: not on record)."""
    run_id = run_id or uuid4()
    if tenant_id:
        record(run_id, tenant_id)
    Outbox.objects.create(topic=FINISHED, run_id=run_id, data=evidence() if data is None else data, at=NOW)
    return run_id


def record(run_id: UUID, tenant_id: UUID) -> None:
    RunRecord.objects.create(
        tenant_id=tenant_id,
        endpoint="probe@1",
        agent=PROBE,
        mode="scheduled-trigger",
        traceparent="",
        source="job",
        source_id=run_id,
        attempt=1,
        outcome="completed",
        started_at=NOW - timedelta(seconds=2),
        finished_at=NOW,
        waited_ms=0,
        duration_ms=2_000,
    )


def scored(total: float, *, mode: Mode = Mode.STREAMING_SYNC, tenant_id: UUID = TENANT, agent: str = "mangaassist@1") -> Score:
    return Score.objects.create(
        run_id=uuid4(),
        tenant_id=tenant_id,
        endpoint="chat@1",
        agent=agent,
        mode=mode,
        rubric="answer",
        rubric_version=1,
        total=total,
        criteria={"grounded": total, "clear": 1.0},
        excerpt="Try <b>Pluto</b>.",
        at=NOW,
    )


@pytest.fixture
def probed(db: None) -> None:
    """The probe agent is registered."""
    assert registry.find("probe", 3).build is probe.Probe


@pytest.fixture
def p3() -> Iterator[Queue]:
    """The broker's own queue of class p3, empty."""
    with app.connection_for_write() as broker:
        queue = app.amqp.queues["p3"](broker.default_channel)
        queue.declare()
        queue.purge()
        yield queue


@pytest.fixture
def imported(db: None) -> dict[str, Baseline]:
    """The baselines as a new installation has them, by mode."""
    Baseline.objects.all().delete()
    import_module("evals.migrations.0002_baselines").seed(apps, None)
    return {row.mode: row for row in Baseline.objects.all()}

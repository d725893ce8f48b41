"""Scoring runs as they finish: from the outbox, once each, beside delivery and never before it."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import transaction

from agents.services import loading
from evals import selectors
from evals.services import verdicts
from evals.services.verdicts import Candidate
from invocation.services import outbox
from invocation.services.outbox import Told
from invocation.services.records import FINISHED

ROUNDS = 25


def consume_all(*, now: datetime) -> int:
    """Consume until nothing is left, or for a bounded while; return how many runs were looked at."""
    taken = 0
    for _ in range(ROUNDS):
        taken += (found := consume(now=now))
        if not found:
            break
    return taken


def consume(*, now: datetime, most: int = 200) -> int:
    """Look at up to `most` finished runs, judge the sampled ones and store their scores; return how many were looked at.

    Any number of consumers may run: each run is taken by one. Scores and the outbox change
    in one transaction, so a crash leaves the runs for the next. Raises AgentModuleUnloadable.
    """
    loading.load(settings.AGENT_MODULES)
    shares = selectors.shares()
    with transaction.atomic():
        taken = outbox.take(FINISHED, most=most)
        verdicts.write([_candidate(told) for told in taken], shares=shares, now=now)
    return len(taken)


def _candidate(told: Told) -> Candidate:
    return Candidate(run_id=told.run_id, tenant_id=told.tenant_id, endpoint=told.endpoint, told=told.data)

"""Turning finished runs into scores: sample, judge, store; a run that cannot be judged stops no other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from agents.domain import registry
from agents.domain.contract import AgentSpec, Evidence
from evals.domain.judging import judge
from evals.domain.sampling import is_sampled
from evals.models import EXCERPT, REASON, Score, Unscored
from invocation.domain.modes import Mode

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A finished run that may be judged.

    `told` should be a mapping with `agent`, `mode`, `input`, `facts` and `output`, the last
    three as JSON or as its text; that it is one is not yet known.
    """

    run_id: UUID
    tenant_id: UUID | None
    endpoint: str
    told: Any


def write(candidates: Iterable[Candidate], *, shares: Mapping[Mode, float], now: datetime) -> None:
    """Judge what is sampled and store a Score, or an Unscored with the reason, for each. Again changes nothing."""
    verdicts = [_weigh(each, shares=shares, now=now) for each in candidates]
    with transaction.atomic():
        Score.objects.bulk_create([row for row in verdicts if isinstance(row, Score)], ignore_conflicts=True)
        Unscored.objects.bulk_create([row for row in verdicts if isinstance(row, Unscored)], ignore_conflicts=True)


def _weigh(candidate: Candidate, *, shares: Mapping[Mode, float], now: datetime) -> Score | Unscored | None:
    """Return what is to be stored. This is the boundary of a rubric's code: the one place where any exception is caught."""
    try:
        if not is_sampled(candidate.run_id, shares[Mode(candidate.told["mode"])]):
            return None
        return _score(candidate, now=now)
    except Exception as fault:
        log.exception("run_not_scored", run_id=str(candidate.run_id), endpoint=candidate.endpoint)
        return _unscored(candidate, fault, now=now)


def _score(candidate: Candidate, *, now: datetime) -> Score:
    told = candidate.told
    spec = _spec(told["agent"])
    evidence = Evidence(input=_json(told["input"]), facts=_json(told["facts"]), output=_json(told["output"]))
    verdict = judge(spec.rubric, evidence)
    return Score(
        run_id=candidate.run_id,
        tenant_id=candidate.tenant_id,
        endpoint=candidate.endpoint,
        agent=spec.label,
        mode=told["mode"],
        rubric=spec.rubric.name,
        rubric_version=spec.rubric.version,
        total=verdict.total,
        criteria=dict(verdict.by_criterion),
        excerpt=_excerpt(evidence.output),
        at=now,
    )


def _unscored(candidate: Candidate, fault: Exception, *, now: datetime) -> Unscored:
    reason = _storable(f"{type(fault).__name__}: {fault}", most=REASON)
    return Unscored(run_id=candidate.run_id, tenant_id=candidate.tenant_id, endpoint=candidate.endpoint, reason=reason, at=now)


def _spec(label: str) -> AgentSpec:
    name, _, version = label.partition("@")
    return registry.find(name, int(version))


def _json(value: Any) -> Mapping[str, Any]:
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise TypeError(f"Evidence is a mapping, and this is a {type(found).__name__}.")
    return found


def _excerpt(output: Mapping[str, Any]) -> str:
    return _storable(str(output.get("text") or json.dumps(output)), most=EXCERPT)


def _storable(text: str, *, most: int) -> str:
    """Cut a text, and take out what PostgreSQL's text cannot hold."""
    return text.replace("\0", "")[:most]

"""One round of a load on a stage: submit or release, wait for the end, and read the rate off the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from statistics import median
from typing import Any

from tests.benchmarks.staging.noop import NOOP
from tests.benchmarks.staging.stage import Client, Stage

SLOTS = 256
TENANTS = 10
NOTHING: Mapping[str, Any] = {}
PATIENCE = timedelta(seconds=120)
ALL_ENDED = """
SELECT NOT EXISTS (SELECT FROM invocation_job WHERE state = 'queued' AND NOT is_behind)
   AND NOT EXISTS (SELECT FROM invocation_job WHERE state IN ('dispatched', 'working', 'cancelling'))
"""
DONE = """
SELECT count(*), extract(epoch FROM max(finished_at))::float8 FROM invocation_job
WHERE state = 'completed' AND created_at >= to_timestamp(%(began)s) AND endpoint = %(endpoint)s
"""
_numbers = count(1)


class RoundBroken(RuntimeError):
    """Not all that was submitted was completed; a rate of the rest would say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round gave: its rate, and the processor time of each process."""

    jobs: int
    seconds: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds

    def cpu_ms_a_job(self, process: str) -> float:
        return 1000 * self.cpu_s.get(process, 0.0) / self.jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenants:
    """Tenants of a plan without caps, and a key of each."""

    ids: Sequence[str]
    keys: Sequence[str]

    @classmethod
    def made(cls, client: Client, number: int, *, plan: str = "house", prefix: str = "tenant") -> Tenants:
        found = client.do("tenants", names=[f"{prefix} {next(_numbers)}" for _ in range(number)], plan=plan)
        return cls(ids=[each["id"] for each in found], keys=[each["key"] for each in found])


def submit(client: Client, tenants: Tenants, *, jobs: int, endpoint: str = NOOP, given: Mapping[str, Any] = NOTHING, **pace: Any) -> Any:
    """Submit jobs through the service, flat out unless `mean_gap_s` says otherwise; return when that began and ended."""
    paced = {"mean_gap_s": 0.0, "least_gap_s": 0.0, "seed": next(_numbers), **pace}
    return client.do("submit", tenant_ids=list(tenants.ids), count=jobs, endpoint=endpoint, given=dict(given), **paced)


def through_the_service(stage: Stage, client: Client, tenants: Tenants, *, jobs: int) -> Round:
    """Submit flat out in a loop; the round ends when the last job is completed."""
    before = stage.cpu_s()
    began = submit(client, tenants, jobs=jobs)["began"]
    return _ended(stage, began=began, jobs=jobs, before=before)


def over_http(stage: Stage, poster: Client, tenants: Tenants, *, jobs: int, connections: int) -> Round:
    """Post flat out over some connections; the round ends when the last job is completed."""
    before = stage.cpu_s()
    told = {"port": stage.port, "keys": list(tenants.keys), "endpoint": NOOP, "given": {}}
    began = poster.do("flat_out", count=jobs, connections=connections, **told)["began"]
    return _ended(stage, began=began, jobs=jobs, before=before)


def of_bare(stage: Stage, client: Client, *, jobs: int) -> Round:
    """Call `.delay()` flat out in a loop; the round ends when the last task has run."""
    before, round_id = stage.cpu_s(), f"round-{next(_numbers)}"
    began = client.do("delay", round_id=round_id, count=jobs)["began"]
    ended = client.do("ended", round_id=round_id)["ended"]
    return Round(jobs=jobs, seconds=ended - began, cpu_s=_used(stage, before))


def wait_until_idle(stage: Stage, *, patience: timedelta = PATIENCE) -> None:
    stage.wait(ALL_ENDED, patience=patience)


def ratio(ours: Sequence[Round], bare: Sequence[Round]) -> float:
    """Return the median of the rounds' ratios, pair by pair: what drifts on the machine drifts for both."""
    return median(one.rate / other.rate for one, other in zip(ours, bare, strict=True))


def rate(rounds: Sequence[Round]) -> float:
    return median(each.rate for each in rounds)


def moment() -> float:
    return datetime.now(UTC).timestamp()


def _ended(stage: Stage, *, began: float, jobs: int, before: Mapping[str, float]) -> Round:
    wait_until_idle(stage)
    used = _used(stage, before)
    done, ended = stage.rows(DONE, began=began, endpoint=NOOP)[0]
    if done != jobs:
        raise RoundBroken(f"{done} of {jobs} jobs were completed")
    return Round(jobs=jobs, seconds=ended - began, cpu_s=used)


def _used(stage: Stage, before: Mapping[str, float]) -> dict[str, float]:
    return {name: now - before.get(name, 0.0) for name, now in stage.cpu_s().items()}

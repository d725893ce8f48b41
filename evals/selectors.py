"""What is read of evals: what is sampled, and how each mode's scores stand to its baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Avg, Count, F, Func, QuerySet, Sum, TextField, Value

from evals.domain.baselines import Origin, Standing, compare
from evals.domain.publishing import Expectation
from evals.domain.sampling import SHARES
from evals.models import Baseline, SamplingShare, Score
from invocation.domain.modes import Mode

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One agent by one rubric in one mode: how many runs were scored, their mean, and what is expected. `agent` is a name."""

    agent: str
    rubric: str
    mode: str
    runs: int
    mean: float | None
    expected: float | None
    origin: Origin

    @property
    def standing(self) -> Standing:
        return compare(self.mean, self.expected)


def shares() -> Mapping[Mode, float]:
    """Return the share of runs that is judged, for every mode."""
    chosen = SamplingShare.objects.values_list("mode", "share")
    return {**SHARES, **{Mode(mode): share for mode, share in chosen}}


def by_mode(*, tenant_id: UUID | None = None, since: datetime | None = None) -> list[Comparison]:
    """Compare all scores with the baselines; of one tenant's runs only, or only since a moment, where asked.

    A baseline without scores is in the list, and so are scores without a baseline.
    """
    scores = Score.objects.all()
    if tenant_id is not None:
        scores = scores.filter(tenant_id=tenant_id)
    if since is not None:
        scores = scores.filter(at__gte=since)
    means = _means(scores)
    baselines = {(row.agent, row.rubric, row.mode): row for row in Baseline.objects.all()}
    return [_comparison(key, means.get(key), baselines.get(key)) for key in sorted(means.keys() | baselines.keys(), key=_in_order)]


def mean_of(baseline: Baseline) -> tuple[int, float | None]:
    """Return how many runs a baseline speaks of were scored, and their mean."""
    scores = Score.objects.filter(rubric=baseline.rubric, mode=baseline.mode)
    return _means(scores).get((baseline.agent, baseline.rubric, baseline.mode), (0, None))


def scored_among(run_ids: Iterable[UUID], *, rubric: str, version: int) -> tuple[int, float]:
    """Return how many of these runs a rubric has scored, and the sum of their scores."""
    found = Score.objects.filter(run_id__in=run_ids, rubric=rubric, rubric_version=version)
    sums = found.order_by().aggregate(runs=Count("pk"), total=Sum("total"))
    return sums["runs"], sums["total"] or 0.0


def expectation(*, agent: str, rubric: str, mode: str) -> Expectation:
    """Return what is expected of an agent by name; unset where nobody said anything."""
    row = Baseline.objects.filter(agent=agent, rubric=rubric, mode=mode).first()
    score, origin = (row.expected, Origin(row.origin)) if row else (None, Origin.UNSET)
    return Expectation(agent=agent, rubric=rubric, mode=mode, score=score, origin=origin)


def _means(scores: QuerySet[Score]) -> dict[Key, tuple[int, float | None]]:
    name = Func(F("agent"), Value("@"), Value(1), function="split_part", output_field=TextField())
    rows = scores.order_by().values("rubric", "mode", name=name).annotate(runs=Count("pk"), mean=Avg("total"))
    return {(row["name"], row["rubric"], row["mode"]): (row["runs"], row["mean"]) for row in rows}


def _comparison(key: Key, scored: tuple[int, float | None] | None, baseline: Baseline | None) -> Comparison:
    runs, mean = scored or (0, None)
    agent, rubric, mode = key
    return Comparison(
        agent=agent,
        rubric=rubric,
        mode=mode,
        runs=runs,
        mean=mean,
        expected=baseline.expected if baseline else None,
        origin=Origin(baseline.origin) if baseline else Origin.UNSET,
    )


def _in_order(key: Key) -> tuple[str, str, int]:
    agent, rubric, mode = key
    return agent, rubric, list(Mode).index(Mode(mode))

"""Changing what is expected: by hand, or proposed from real runs and then accepted by a person."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from evals import selectors
from evals.domain.baselines import Origin
from evals.domain.errors import NothingProposed, TooFewScores
from evals.models import Baseline

ENOUGH_SCORES = 30


def set_by_hand(baseline: Baseline, expected: float | None, *, now: datetime) -> None:
    """Set a number from outside, which is `imported` and gates nothing, or with None take it away. Saves a new row too."""
    baseline.expected = expected
    baseline.origin = Origin.UNSET if expected is None else Origin.IMPORTED
    baseline.accepted_by = ""
    baseline.at = now
    baseline.save()


@transaction.atomic
def propose(baseline_id: int, *, now: datetime) -> float:
    """Propose the mean of the runs scored so far and return it. Raises TooFewScores below 30."""
    baseline = Baseline.objects.select_for_update(no_key=True).get(pk=baseline_id)
    runs, mean = selectors.mean_of(baseline)
    if mean is None or runs < ENOUGH_SCORES:
        raise TooFewScores(f"{baseline} has {runs} scores; a baseline is proposed from {ENOUGH_SCORES} at least.")
    proposed = round(mean, 4)
    Baseline.objects.filter(pk=baseline_id).update(expected=proposed, origin=Origin.PROPOSED, accepted_by="", at=now)
    return proposed


def accept(baseline_id: int, *, by: str, now: datetime) -> None:
    """Accept a proposed baseline: from now on it gates. Raises NothingProposed."""
    proposed = Baseline.objects.filter(pk=baseline_id, origin=Origin.PROPOSED)
    if not proposed.update(origin=Origin.ACCEPTED, accepted_by=by, at=now):
        raise NothingProposed("Only a proposed baseline can be accepted.")

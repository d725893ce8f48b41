"""Forgetting what was copied of runs whose words were erased: the figures stay, the excerpts go."""

from __future__ import annotations

from django.db import transaction

from evals.models import Score, Unscored
from invocation.services import outbox
from invocation.services.erasures import FORGOTTEN

MOST = 500


@transaction.atomic
def consume() -> int:
    """Drop the excerpts of up to `MOST` forgotten runs and return how many there were. A crash leaves them for the next."""
    run_ids = [told.run_id for told in outbox.take(FORGOTTEN, most=MOST)]
    Score.objects.filter(run_id__in=run_ids).update(excerpt="")
    Unscored.objects.filter(run_id__in=run_ids).update(reason="Erased.")
    return len(run_ids)

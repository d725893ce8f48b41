"""What was copied of a run goes with the run's own words; its figures stay."""

from __future__ import annotations

import pytest

from evals.models import Score, Unscored
from evals.services import forgetting, scoring
from invocation.models import Outbox
from invocation.services.erasures import FORGOTTEN
from tests.integration.evals.conftest import NOW, evidence, finish

pytestmark = pytest.mark.usefixtures("probed", "db")


def test_the_excerpt_of_a_forgotten_run_goes_and_its_score_stays() -> None:
    forgotten, other = finish(evidence(0.6)), finish(evidence(0.6))
    scoring.consume(now=NOW)
    Outbox.objects.create(topic=FORGOTTEN, run_id=forgotten, data={}, at=NOW)

    assert forgetting.consume() == 1
    assert dict(Score.objects.values_list("run_id", "excerpt")) == {forgotten: "", other: "A new title."}
    assert Score.objects.get(run_id=forgotten).total == pytest.approx(0.7)
    assert not Outbox.objects.exists()


def test_why_a_forgotten_run_was_not_scored_goes_too() -> None:
    forgotten = finish(evidence("worthless"))
    scoring.consume(now=NOW)
    Outbox.objects.create(topic=FORGOTTEN, run_id=forgotten, data={}, at=NOW)
    forgetting.consume()

    assert Unscored.objects.get().reason == "Erased."

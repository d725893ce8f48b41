from __future__ import annotations

import pytest

from evals.domain.baselines import Origin, Standing, compare


@pytest.mark.parametrize(
    ("mean", "expected", "standing"),
    [
        (0.9, 0.81, Standing.HOLDS),
        (0.81, 0.81, Standing.HOLDS),
        (0.8, 0.81, Standing.BELOW),
        (0.0, 0.0, Standing.HOLDS),
        (0.9, None, Standing.UNSET),
        (None, None, Standing.UNSET),
        (None, 0.81, Standing.UNMEASURED),
    ],
)
def test_a_mean_stands_to_its_baseline(mean: float | None, expected: float | None, standing: Standing) -> None:
    assert compare(mean, expected) is standing


def test_only_an_accepted_baseline_gates() -> None:
    assert [origin for origin in Origin if origin.gates] == [Origin.ACCEPTED]

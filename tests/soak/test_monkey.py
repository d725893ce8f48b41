"""Ten minutes of a monkey over at least two thousand jobs (`make soak`)."""

from __future__ import annotations

import sys

import pytest

from tests.soak.ends import all_is_well
from tests.soak.ground import ground
from tests.soak.monkey import Client, torment

MINUTES = 10
SEED = 20_261_120


@pytest.mark.timeout(1_500)
def test_ten_minutes_of_a_monkey_lose_and_double_nothing() -> None:
    with ground() as here:
        with Client(here, rate=8.0).submitting() as client:
            done = torment(here, for_s=60 * MINUTES, seed=SEED)

        all_is_well(here, client.job_ids, within=240)
        sys.stdout.write(f"{len(client.job_ids)} jobs, {len(done)} acts, {sum(here.effects.asked.values())} effects asked\n")
        assert len(client.job_ids) >= 2_000

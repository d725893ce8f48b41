"""Chats beside a batch that wants more than its quota, in short; at full length in tests/soak."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.speaking import BATCH_S
from tests.benchmarks.staging.saturated import saturated
from tests.soak.ground import until

PEOPLE = 5
FOR_S = 10.0
ROWS = 1_500


@pytest.mark.timeout(480)
def test_no_chat_is_refused_while_a_batch_takes_all_that_it_may() -> None:
    with saturated(SLOTS="p3=8") as ground:
        ground.chat(people=1, for_s=3)
        began = time.time()
        batches = ground.begin_batches(ROWS)
        until(lambda: ground.used_by_batch(since=began, until=time.time()), bool, within=BATCH_S)
        seen = ground.chat(people=PEOPLE, for_s=FOR_S)
        used, refused = ground.used_by_batch(since=time.time() - 60, until=time.time()), ground.refused()
        ground.cancel(batches)

    assert seen.first_deltas
    assert not [failure for failure in seen.failures if "quota" in failure or "429" in failure]
    assert refused == 0
    assert 0 < used <= ground.share

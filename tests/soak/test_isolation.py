"""Two minutes of twenty chats beside a batch that wants more than its quota: people notice nothing, and the batch has its share."""

from __future__ import annotations

import sys
import time

import pytest

from tests.benchmarks.staging.saturated import p95, saturated

PEOPLE, PAUSE_S = 20, 3.0
"""What they ask for fits what is reserved for chat: some 1,000 tokens a turn, held or used, of 240,000 a minute."""
MINUTES = 2
ROWS = 8_000
SETTLED_S = 70
"""A minute after its beginning a batch has what any minute gives it."""


@pytest.mark.timeout(600)
def test_a_batch_at_its_quota_takes_no_call_from_a_chat_and_gets_its_share() -> None:
    with saturated(SLOTS="p3=8") as ground:
        batches = ground.begin_batches(ROWS)
        time.sleep(SETTLED_S)
        since = time.time()
        seen = ground.chat(people=PEOPLE, for_s=60 * MINUTES, pause_s=PAUSE_S)
        until = since + 60 * MINUTES
        time.sleep(5)  # a block's calls are booked when the block counts
        used, refused = ground.used_by_batch(since=since, until=until), ground.refused()
        ground.cancel(batches)

    sys.stdout.write(f"{len(seen.first_deltas)} turns, first delta p95 {1000 * p95(seen.first_deltas):.0f} ms; ")
    sys.stdout.write(f"batch {used} of {ground.share * MINUTES:.0f} tokens; {refused} refused\n")
    assert not seen.failures
    assert refused == 0
    assert used >= 0.95 * ground.share * MINUTES

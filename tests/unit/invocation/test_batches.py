"""What parts are called, and how often one is written."""

from __future__ import annotations

from invocation.domain.batches import CHECKPOINT_S, MOST_CHECKPOINT_S, checkpoint_within, part_name


def test_a_part_is_named_by_its_shard_its_number_and_its_attempt() -> None:
    assert part_name(shard=3, number=128, attempt=2) == "shard=00003/part-000128-0002.parquet"


def test_the_more_parts_a_shard_has_the_later_it_writes_the_next_up_to_a_limit() -> None:
    assert [checkpoint_within(parts) for parts in (0, 50)] == [CHECKPOINT_S, CHECKPOINT_S]
    assert checkpoint_within(100) == 2 * CHECKPOINT_S
    assert checkpoint_within(1_000_000) == MOST_CHECKPOINT_S


def test_a_day_of_slow_rows_makes_few_parts() -> None:
    passed_s, parts = 0.0, 0
    while passed_s < 86_400:
        passed_s, parts = passed_s + checkpoint_within(parts), parts + 1
    assert parts < 5_000

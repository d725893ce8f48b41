"""What parts are called."""

from __future__ import annotations

from invocation.domain.batches import part_name


def test_a_part_is_named_by_its_shard_its_number_and_its_attempt() -> None:
    assert part_name(shard=3, number=128, attempt=2) == "shard=00003/part-000128-0002.parquet"

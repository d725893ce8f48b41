"""Locations in S3 as words."""

from __future__ import annotations

import pytest

from invocation.domain.locations import is_within, plain


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b=1/", "s3://bucket/a/b=1"),
        ("s3://bucket//a", None),
        ("s3://bucket/a/../b", None),
        ("s3://bucket/./b", None),
        ("s3:///a", None),
        ("s3://b", None),
        ("s3://bucket/a b", None),
        ("s3://bucket/a\0b", None),
        ("/bucket/a", None),
        ("http://bucket/a", None),
    ],
)
def test_only_a_plain_location_counts(told: str, found: str | None) -> None:
    assert plain(told) == found


def test_a_neighbour_with_a_longer_name_lies_beside() -> None:
    assert is_within("s3://bucket/a", "s3://bucket/a")
    assert is_within("s3://bucket/a/b", "s3://bucket/a")
    assert not is_within("s3://bucket/ab", "s3://bucket/a")
    assert not is_within("s3://bucket/a", "s3://bucket/a/b")

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from invocation.domain.contexts import KEY, Context, Relevance, Standing
from invocation.domain.ids import id_at, new_id


def standing(policy: Relevance, *, asked: int, current: int) -> Standing:
    return Standing(Context("k", asked, policy), current)


@pytest.mark.parametrize("policy", list(Relevance))
def test_an_answer_of_the_current_version_is_withheld_by_no_policy(policy: Relevance) -> None:
    assert standing(policy, asked=3, current=3).is_current
    assert not standing(policy, asked=3, current=3).is_withheld


@pytest.mark.parametrize("policy", list(Relevance))
def test_a_late_answer_is_withheld_by_the_policy_that_says_so(policy: Relevance) -> None:
    late = standing(policy, asked=2, current=3)

    assert (late.is_current, late.is_withheld) == (False, policy is Relevance.WITHHOLD)


def test_what_is_delivered_whatever_the_version_is_not_annotated() -> None:
    assert standing(Relevance.DELIVER, asked=2, current=3).as_json() is None
    assert standing(Relevance.ANNOTATE, asked=2, current=3).as_json() == {"is_current": False, "asked_version": 2, "current_version": 3}


@pytest.mark.parametrize("key", ["a", "chat-7", "user@example.com", "A" * 200, "0:1~2._"])
def test_a_key_is_a_segment_of_an_address(key: str) -> None:
    assert re.match(KEY, key)


@pytest.mark.parametrize("key", ["", "A" * 201, "a/b", "a b", "..", "-a", "a\n", "ü"])
def test_nothing_else_is_a_key(key: str) -> None:
    assert not re.match(KEY, key)


def test_ids_made_before_a_moment_lie_below_its_bound_and_later_ones_above() -> None:
    made, now = new_id(), datetime.now(UTC)

    assert id_at(now - timedelta(seconds=1)) < made < id_at(now + timedelta(seconds=1))

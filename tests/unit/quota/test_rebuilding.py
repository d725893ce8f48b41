"""What a rebuilt day is taken to have used: never more, on a guess, than a pool gives in a day."""

from __future__ import annotations

import pytest

from quota.domain.classes import PriorityClass
from quota.domain.limits import Limits, nested
from quota.gateways.windows import NOTHING, Used
from quota.services.store_sight import most_of_the_day

P0, P1, P2, P3 = PriorityClass
LIMITS = Limits(tokens_per_minute=6_000, requests_per_minute=60, p0_reserved=0.3, p3_cap=0.4, tokens_per_day=10_000, requests_per_day=100)
SHARED, CAPPED = nested(LIMITS)[1], nested(LIMITS)[2]


@pytest.mark.parametrize("word", [P1, P3])
def test_a_guess_takes_nothing_of_what_p0_alone_may_use(word: PriorityClass) -> None:
    booked = {**NOTHING, P1: Used(SHARED.day_tokens or 0, SHARED.day_requests or 0)}

    assert most_of_the_day(nested(LIMITS), booked, {**NOTHING, word: Used(500, 5)}) == booked


def test_a_guess_of_p3_stops_at_its_cap() -> None:
    booked = {**NOTHING, P3: Used((CAPPED.day_tokens or 0) - 100, 1)}
    found = most_of_the_day(nested(LIMITS), booked, {**NOTHING, P3: Used(500, 5)})

    assert found[P3] == Used(CAPPED.day_tokens or 0, 6)


def test_what_fits_is_counted_and_p0s_own_always() -> None:
    found = most_of_the_day(nested(LIMITS), {**NOTHING, P0: Used(9_900, 9)}, {**NOTHING, P0: Used(500, 5), P1: Used(70, 7)})

    assert found == {**NOTHING, P0: Used(10_400, 14), P1: Used(70, 7)}

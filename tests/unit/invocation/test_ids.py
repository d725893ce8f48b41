"""Ids: in order within a process, and never ahead of the clock."""

from __future__ import annotations

import threading
import time
from uuid import RFC_4122, UUID

from invocation.domain.ids import new_id


def test_ids_made_in_a_crowd_stay_in_order_and_in_their_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id() for _ in range(20_000)]
    after = time.time_ns() // 1_000_000

    assert made == sorted(set(made))
    assert before <= made[0].int >> 80 <= made[-1].int >> 80 <= after


def test_an_id_is_a_uuid_of_version_seven() -> None:
    made = new_id()

    assert (made.version, made.variant) == (7, RFC_4122)
    assert UUID(str(made)) == made


def test_threads_make_no_id_twice() -> None:
    made: list[list[UUID]] = [[] for _ in range(8)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(new_id() for _ in range(2_000))) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(mine == sorted(mine) for mine in made)
    assert len({each.int >> 64 for mine in made for each in mine}) == 16_000

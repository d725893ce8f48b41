from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gearbox_client.problems import retry_after
from gearbox_client.retrying import Reconnects, Retries, Trouble, pause_before_next, pause_before_reopening

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RULES = Retries(most=3, first_pause=SECOND, longest_pause=10 * SECOND)


def pause(
    trouble: Trouble = Trouble.LOST, *, sent: int = 1, is_repeatable: bool = True, asked: timedelta | None = None, luck: float = 1.0
) -> timedelta | None:
    return pause_before_next(trouble, sent=sent, is_repeatable=is_repeatable, retry_after=asked, rules=RULES, luck=luck)


def test_a_call_that_may_be_repeated_is_sent_again_after_a_growing_pause() -> None:
    assert [pause(sent=sent) for sent in (1, 2)] == [SECOND, 2 * SECOND]


def test_a_call_is_sent_at_most_so_often() -> None:
    assert pause(sent=3) is None


@pytest.mark.parametrize("trouble", [Trouble.LOST, Trouble.TURNED_AWAY])
def test_a_call_that_does_harm_twice_is_not_repeated_once_it_was_sent(trouble: Trouble) -> None:
    assert pause(trouble, is_repeatable=False) is None


def test_a_call_that_never_left_is_sent_again_whatever_it_does() -> None:
    assert pause(Trouble.NOT_SENT, is_repeatable=False) == SECOND


def test_the_servers_word_is_kept_and_never_shortened() -> None:
    assert pause(Trouble.TURNED_AWAY, asked=5 * SECOND) == 5 * SECOND
    assert pause(Trouble.TURNED_AWAY, asked=timedelta()) == SECOND


def test_a_server_that_asks_for_more_patience_than_ours_is_not_asked_again() -> None:
    assert pause(Trouble.TURNED_AWAY, asked=11 * SECOND) is None


@pytest.mark.parametrize("luck", [0.0, 0.25, 0.999])
def test_jitter_shortens_a_pause_by_at_most_a_half(luck: float) -> None:
    found = pause(luck=luck)

    assert found is not None
    assert SECOND / 2 <= found <= SECOND


def test_a_stream_is_opened_again_with_bounded_pauses_and_then_given_up() -> None:
    rules = Reconnects(most=6, first_pause=SECOND, longest_pause=10 * SECOND)
    found = [pause_before_reopening(failed=failed, retry_after=None, rules=rules, luck=1.0) for failed in range(1, 8)]

    assert found == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, 10 * SECOND, 10 * SECOND, None]


def test_a_stream_keeps_the_servers_word_too() -> None:
    rules = Reconnects(longest_pause=10 * SECOND)

    assert pause_before_reopening(failed=1, retry_after=7 * SECOND, rules=rules, luck=0.0) == 7 * SECOND
    assert pause_before_reopening(failed=1, retry_after=60 * SECOND, rules=rules, luck=0.0) is None


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("7", 7 * SECOND),
        (" 0 ", timedelta()),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30 * SECOND),
        ("Fri, 20 Nov 2026 11:00:00 GMT", timedelta()),
        ("soon", None),
        ("-3", None),
        ("٣", None),
        ("9" * 40, None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, wanted: timedelta | None) -> None:
    assert retry_after(header, now=NOW) == wanted

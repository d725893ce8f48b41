"""The rules of webhooks: the schedule, what an answer means, and signatures that others accept."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from invocation.domain.jobs import PARKED, TERMINAL, JobState
from invocation.domain.webhooks import (
    BODY,
    EVENTS,
    JITTER,
    WAITS,
    Answer,
    CallFault,
    DeliveryState,
    Verdict,
    WebhookEvent,
    headers,
    judge,
    new_secret,
    read_retry_after,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ID = UUID("01900000-0000-7000-8000-000000000001")
FAILED = Verdict(DeliveryState.FAILED)


def wait_after(tries: int, *, luck: float = 0.0, answer: Answer | None = None) -> timedelta:
    verdict = judge(answer or Answer(status=500), tries=tries, now=NOW, luck=luck)
    assert verdict.due_at is not None
    return verdict.due_at - NOW


def test_every_end_of_a_job_can_be_told_and_so_can_a_question() -> None:
    assert set(EVENTS) == TERMINAL | (PARKED & {JobState.INPUT_REQUIRED})
    assert {state: f"job.{state}" for state in EVENTS} == EVENTS
    assert set(EVENTS.values()) == set(WebhookEvent)


def test_tries_go_out_at_once_then_after_1_and_5_minutes_half_an_hour_4_10_and_10_hours() -> None:
    minute, hour = timedelta(minutes=1), timedelta(hours=1)

    assert WAITS[0] == timedelta()
    assert [wait_after(tries) for tries in range(1, 7)] == [minute, 5 * minute, 30 * minute, 4 * hour, 10 * hour, 10 * hour]
    assert judge(Answer(status=500), tries=7, now=NOW, luck=0.0) == FAILED


def test_jitter_only_makes_a_wait_longer_and_within_its_share() -> None:
    for tries in range(1, 7):
        assert wait_after(tries) < wait_after(tries, luck=0.5) < wait_after(tries) * (1 + JITTER)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert judge(Answer(status=status), tries=1, now=NOW, luck=0.0) == Verdict(DeliveryState.DELIVERED)


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 500, 503])
def test_no_other_status_is(status: int) -> None:
    assert judge(Answer(status=status), tries=1, now=NOW, luck=0.0).state is DeliveryState.PENDING


def test_no_answer_is_tried_again_and_gone_is_not() -> None:
    assert judge(Answer(fault=CallFault.TIMED_OUT), tries=1, now=NOW, luck=0.0).state is DeliveryState.PENDING
    assert judge(Answer(status=410), tries=1, now=NOW, luck=0.0) == FAILED


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_who_is_busy_says_when_to_come_back_within_bounds(status: int) -> None:
    def asking(**span: float) -> timedelta:
        return wait_after(1, answer=Answer(status=status, retry_after=timedelta(**span)))

    assert asking(seconds=1) == timedelta(minutes=1)
    assert asking(minutes=20) == timedelta(minutes=20)
    assert asking(days=400) == timedelta(hours=10)


def test_who_is_not_busy_has_no_say() -> None:
    assert wait_after(1, answer=Answer(status=500, retry_after=timedelta(hours=2))) == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("9" * 40, 999_999_999),
        ("Fri, 20 Nov 2026 12:05:00 GMT", 300),
        ("Fri, 20 Nov 2026 12:05:00 -0000", 300),
        ("Fri, 20 Nov 2026 11:05:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(raw: str | None, seconds: int | None) -> None:
    found = read_retry_after(raw, now=NOW)

    assert found == (None if seconds is None else timedelta(seconds=seconds))


def test_a_secret_is_as_the_standard_wants_it_and_never_the_same() -> None:
    one, other = new_secret(), new_secret()

    assert one.startswith("whsec_")
    assert 24 <= len(base64.b64decode(one.removeprefix("whsec_"), validate=True)) <= 64
    assert one != other


def test_a_signature_is_what_the_reference_library_makes_of_the_same() -> None:
    """Made once with standardwebhooks 1.1.0 from the secret, the moment and the body that the specification's examples use."""
    secret, at = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", datetime.fromtimestamp(1_614_265_330, UTC)

    assert headers(ID, b'{"test": 2432232314}', secrets=[secret], now=at) == {
        "webhook-id": str(ID),
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,XrCqJwpigJfo9G8t+9edOOTEXKlZHE05NiiIil5Rgwk=",
    }


def test_the_moment_is_the_same_in_every_zone_and_both_secrets_sign() -> None:
    secrets = [new_secret(), new_secret()]
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    told = headers(ID, b"{}", secrets=secrets, now=east)

    assert told == headers(ID, b"{}", secrets=secrets, now=NOW)
    assert [headers(ID, b"{}", secrets=[each], now=NOW)["webhook-signature"] for each in secrets] == told["webhook-signature"].split(" ")


def test_the_body_says_what_where_and_when_and_nothing_else() -> None:
    filled = BODY
    for place, value in (("%1$s", "completed"), ("%2$s", NOW.isoformat()), ("%3$s", str(ID)), ("%4$s", "https://a.example")):
        filled = filled.replace(place, value)

    assert json.loads(filled) == {
        "type": "job.completed",
        "timestamp": NOW.isoformat(),
        "data": {"job_id": str(ID), "state": "completed", "result_url": f"https://a.example/v1/jobs/{ID}/result"},
    }

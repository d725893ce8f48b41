"""HTTP answers as errors of the contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.domain.errors import ProviderError, ProviderRateLimited, ProviderRefused, ProviderUnavailable
from agents.gateways.providers.refusals import from_chunk, from_status, retry_after

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ProviderRefused),
        (401, ProviderRefused),
        (404, ProviderRefused),
        (408, ProviderUnavailable),
        (429, ProviderRateLimited),
        (500, ProviderUnavailable),
        (529, ProviderUnavailable),
    ],
)
def test_a_status_has_one_error(status: int, error: type[ProviderError]) -> None:
    assert type(from_status(status, headers={}, sentence="no")) is error


def test_the_providers_own_word_on_when_to_return_is_kept() -> None:
    assert from_status(429, headers={"retry-after": "12"}, sentence="no").retry_after == timedelta(seconds=12)
    assert from_status(503, headers={"retry-after": "3"}, sentence="no").retry_after == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("2.5", timedelta(seconds=2.5)),
        ("Fri, 20 Nov 2026 12:01:30 GMT", timedelta(seconds=90)),
        ("Fri, 20 Nov 2026 12:01:30 -0000", timedelta(seconds=90)),
        ("Fri, 20 Nov 2026 11:00:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_unread(value: str | None, length: timedelta | None) -> None:
    assert retry_after(value, now=NOW) == length


def test_an_error_inside_a_stream_is_judged_by_its_code() -> None:
    assert isinstance(from_chunk({"code": "rate_limit_exceeded"}, sentence="no"), ProviderRateLimited)
    assert isinstance(from_chunk({"type": "server_error"}, sentence="no"), ProviderUnavailable)
    assert isinstance(from_chunk("what", sentence="no"), ProviderUnavailable)

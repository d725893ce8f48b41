"""HTTP answers as errors of the contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.domain.errors import ProviderDown, ProviderError, ProviderRateLimited, ProviderRefused, ProviderUnavailable
from agents.gateways.providers.refusals import from_chunk, from_code, from_status, retry_after

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ProviderRefused),
        (401, ProviderRefused),
        (404, ProviderRefused),
        (408, ProviderUnavailable),
        (424, ProviderUnavailable),
        (429, ProviderRateLimited),
        (500, ProviderUnavailable),
        (502, ProviderDown),
        (503, ProviderDown),
        (504, ProviderUnavailable),
        (529, ProviderDown),
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


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"code": "rate_limit_exceeded"}, ProviderRateLimited),
        ({"type": "server_error"}, ProviderUnavailable),
        ({"type": "error", "error": {"type": "overloaded_error"}}, ProviderDown),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, ProviderRateLimited),
        ({"type": "error", "error": {"type": "invalid_request_error"}}, ProviderRefused),
        ("what", ProviderUnavailable),
        (None, ProviderUnavailable),
    ],
)
def test_an_error_inside_a_stream_is_judged_by_its_code(told: object, error: type[ProviderError]) -> None:
    assert type(from_chunk(told, sentence="no")) is error


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("throttlingException", ProviderRateLimited),
        ("validationException", ProviderRefused),
        ("modelStreamErrorException", ProviderUnavailable),
        ("", ProviderUnavailable),
    ],
)
def test_an_exception_of_bedrock_is_judged_by_its_name(code: str, error: type[ProviderError]) -> None:
    assert type(from_code(code, sentence="no")) is error

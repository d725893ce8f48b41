"""Which error of the contract an HTTP provider's answer is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from agents.domain.errors import ProviderError, ProviderRateLimited, ProviderRefused, ProviderUnavailable

# 408 and 409 say "again, later", although they are no 5xx.
_PASSING = frozenset({408, 409, 425})


def from_status(status: int, *, headers: Mapping[str, str], sentence: str) -> ProviderError:
    """Return the error for an answer of 4xx or 5xx; `headers` are read for Retry-After."""
    later = retry_after(headers.get("retry-after"), now=datetime.now(UTC))
    if status == 429:
        return ProviderRateLimited(sentence, retry_after=later)
    if status >= 500 or status in _PASSING:
        return ProviderUnavailable(sentence, retry_after=later)
    return ProviderRefused(sentence)


def from_chunk(body: Any, *, sentence: str) -> ProviderError:
    """Return the error for one sent inside a stream, which has no status of its own."""
    code = str(body.get("code") or body.get("type") or "") if isinstance(body, Mapping) else ""
    return ProviderRateLimited(sentence) if "rate_limit" in code or code == "429" else ProviderUnavailable(sentence)


def retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """Read a Retry-After, which is seconds or an HTTP date; None if it is absent, unreadable or past."""
    if not value:
        return None
    length = _seconds(value) or _until(value, now=now)
    return length if length and length > timedelta(0) else None


def _seconds(value: str) -> timedelta | None:
    try:
        return timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        return None


def _until(value: str, *, now: datetime) -> timedelta | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now

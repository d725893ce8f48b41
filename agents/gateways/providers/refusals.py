"""Which error of the contract an HTTP provider's answer is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from agents.domain.errors import ProviderDown, ProviderError, ProviderRateLimited, ProviderRefused, ProviderUnavailable

# These say "again, later", although they are no 5xx; 424 is Bedrock's word for a model that failed behind it.
_PASSING = frozenset({408, 409, 424, 425})
# Said whatever was asked: no way to the provider, out of service, overloaded. A 500 or a 504 may be the request's own doing.
_DOWN = frozenset({502, 503, 529})
_LIMITS = ("rate_limit", "throttling", "429")
_OUTAGES = ("overloaded", "unavailable", "503", "529")
_REFUSALS = ("invalid_request", "validation", "authentication", "permission", "not_found")


def from_status(status: int, *, headers: Mapping[str, str], sentence: str) -> ProviderError:
    """Return the error for an answer of 4xx or 5xx; `headers` are read for Retry-After."""
    later = retry_after(headers.get("retry-after"), now=datetime.now(UTC))
    if status == 429:
        return ProviderRateLimited(sentence, retry_after=later)
    if status in _DOWN:
        return ProviderDown(sentence, retry_after=later)
    if status >= 500 or status in _PASSING:
        return ProviderUnavailable(sentence, retry_after=later)
    return ProviderRefused(sentence)


def from_chunk(body: Any, *, sentence: str) -> ProviderError:
    """Return the error for one sent inside a stream, which has no status of its own. It may lie in a field `error`."""
    told = body.get("error") or body if isinstance(body, Mapping) else None
    return from_code(str(told.get("code") or told.get("type") or "") if isinstance(told, Mapping) else "", sentence=sentence)


def from_code(code: str, *, sentence: str) -> ProviderError:
    """Return the error that a provider's own word for it means; ProviderUnavailable where it means nothing to us."""
    word = code.lower()
    if any(part in word for part in _LIMITS):
        return ProviderRateLimited(sentence)
    if any(part in word for part in _OUTAGES):
        return ProviderDown(sentence)
    return ProviderRefused(sentence) if any(part in word for part in _REFUSALS) else ProviderUnavailable(sentence)


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

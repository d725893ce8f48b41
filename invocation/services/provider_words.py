"""What a provider's answers are to everybody's next call: told to the quota as soon as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Protocol

from agents.domain.errors import ProviderError, ProviderRateLimited, ProviderStalled, ProviderUnavailable, StreamCut
from quota.domain.asks import Grant
from quota.services import admission


def tell(grant: Grant, error: ProviderError) -> None:
    """Tell the quota that a call's provider slows us down or fails; that it answers is told by whoever hears it.

    The error says from then on whether its call was a probe, of which many may fail before the provider is back.
    """
    _tell_of(error)(grant, retry_after=error.retry_after)
    error.is_of_probe = grant.is_probe


def _tell_of(error: ProviderError) -> _Tell:
    return next((tell for kind, tell in _TELL.items() if isinstance(error, kind)), _nothing)


class _Tell(Protocol):
    def __call__(self, grant: Grant, *, retry_after: timedelta | None = None) -> None: ...


def _nothing(grant: Grant, *, retry_after: timedelta | None = None) -> None:
    """A refused request says that the provider is there."""
    admission.answered(grant)


_TELL: Mapping[type[ProviderError], _Tell] = MappingProxyType(
    {
        ProviderRateLimited: admission.slowed,
        ProviderUnavailable: admission.failed,
        ProviderStalled: admission.failed,
        StreamCut: admission.failed,
    }
)

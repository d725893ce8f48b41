"""The port that every model provider implements, proven by tests/conformance."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from agents.domain.values import ModelRequest, Piece, Reply


class Provider(Protocol):
    """A way to one company's models.

    `stream` yields Pieces as they come and ends with exactly one Reply, whose text is
    the pieces joined and whose usage is the provider's own count where it reports one.
    It raises ProviderRateLimited (429, with `retry_after`), ProviderDown (502, 503, 529 or
    unreachable: an outage, whatever was asked), ProviderUnavailable (any other 5xx),
    ProviderStalled (silent beyond its time-out), StreamCut (ended early) or
    ProviderRefused (other 4xx). It never retries by itself. Cancelling or closing the iterator ends
    the call at the provider.
    """

    name: str

    def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Reply, None]: ...

    async def aclose(self) -> None: ...

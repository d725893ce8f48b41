"""What is read of the declared endpoints: the contracts, as values."""

from __future__ import annotations

from collections.abc import Sequence

from invocation.domain.endpoints import Endpoint
from invocation.domain.modes import Transport
from invocation.gateways import declared


def every() -> Sequence[Endpoint]:
    """Return all endpoints by label, retired ones included."""
    return [endpoint for _, endpoint in sorted(declared.book().by_label.items())]


def named(label: str) -> Endpoint:
    """Return the endpoint, also one that is retired: its contract stays readable. Raises UnknownEndpoint or UnknownVersion."""
    book = declared.book()
    found = book.by_label.get(label)
    return found if found is not None else book.find(label)


def known(label: str) -> Endpoint | None:
    return declared.book().by_label.get(label)


def callable_as(label: str, transport: Transport) -> Endpoint:
    """Return the endpoint for a call of this transport. Raises UnknownEndpoint, UnknownVersion, EndpointRetired or ModeMismatch."""
    return declared.book().find_for(label, transport)

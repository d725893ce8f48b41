"""Calls on endpoints and contexts."""

from __future__ import annotations

from gearbox_client.calls import Call, Method, get, given, items_of, place
from gearbox_client.groups import Group, W, exchange
from gearbox_client.reading import reader
from gearbox_client.values.account import Endpoint
from gearbox_client.values.jobs import ContextVersion


class Contracts(Group[W]):
    """The published contracts."""

    @exchange
    def list(self) -> Call[tuple[Endpoint, ...]]:
        return items_of(Endpoint, place("endpoints"))

    @exchange
    def get(self, label: str) -> Call[Endpoint]:
        """Return the contract of `name@version`."""
        return get(place("endpoints", label), reader(Endpoint))


class Contexts(Group[W]):
    """What answers belong to; who moves on bumps the version."""

    @exchange
    def bump(self, key: str, *, version: int | None = None) -> Call[ContextVersion]:
        """Raise the context's version by one, or to this one. Only the latter is sent again when its answer was lost."""
        return Call(
            method=Method.PUT,
            path=place("contexts", key),
            read=reader(ContextVersion),
            body=given(version=version),
            is_repeatable=version is not None,
        )

    @exchange
    def get(self, key: str) -> Call[ContextVersion]:
        return get(place("contexts", key), reader(ContextVersion))

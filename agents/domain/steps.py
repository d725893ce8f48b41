"""Steps: what a run has finished, by name and occurrence, so that no later attempt does it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from agents.domain.errors import ReplayDiverged
from agents.domain.values import Json


class StepKey(NamedTuple):
    """A step's place in the journal: its name and which time the name occurs."""

    name: str
    occurrence: int


class Step(NamedTuple):
    """A finished step: its result as JSON, and a fingerprint of what it was called with."""

    result: Json
    fingerprint: str


class Journal(Protocol):
    """Finished steps of one run. `record` returns only after the step is kept."""

    def lookup(self, key: StepKey) -> Step | None: ...

    async def record(self, key: StepKey, step: Step) -> None: ...


class Place(NamedTuple):
    """Where the execution stands: a step's key, what it is called with now, and the step if an earlier attempt finished it."""

    key: StepKey
    fingerprint: str
    found: Step | None


class Steps:
    """One execution's way through the journal; every name's occurrences are counted."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen: dict[str, int] = {}

    def enter(self, name: str, arguments: Mapping[str, Json]) -> Place:
        """Return the next place of this name. Raises ReplayDiverged if the journal holds other arguments there."""
        occurrence = self._seen[name] = self._seen.get(name, 0) + 1
        key = StepKey(name, occurrence)
        fingerprint = _fingerprint(arguments)
        found = self._journal.lookup(key)
        if found and found.fingerprint != fingerprint:
            raise ReplayDiverged(f"Step {name} (occurrence {occurrence}) was called with other arguments than before.")
        return Place(key, fingerprint, found)

    async def keep(self, place: Place, result: Json) -> Any:
        """Finish the step and return its result as a resumed run will see it."""
        kept = as_kept(result)
        await self.keep_plain(place, kept)
        return kept

    async def keep_plain(self, place: Place, result: Json) -> None:
        """Finish the step with what is plain JSON already, and nobody else's to change."""
        await self._journal.record(place.key, Step(result, place.fingerprint))

    async def once(self, name: str, fn: Callable[..., Awaitable[Json]], arguments: Mapping[str, Json]) -> Any:
        """Return the step's result, calling `fn(**arguments)` only if no attempt finished it."""
        place = self.enter(name, arguments)
        return place.found.result if place.found else await self.keep(place, await fn(**arguments))

    def noted(self, key: StepKey) -> Json:
        """Return what was noted under this key, None for nothing."""
        found = self._journal.lookup(key)
        return found.result if found else None

    async def note(self, key: StepKey, result: Json) -> None:
        """Keep something beside the steps, under a key that nothing else has."""
        await self._journal.record(key, Step(result, ""))


def as_kept(value: Json) -> Json:
    """Return the value as JSON in its one form: a first run and every replay see the same, in every mode, whatever kept it meanwhile.

    Keys are text, in the order of their characters: a database that keeps objects has an order of its own. A float
    that JSON writes with a positive exponent is the whole number that it is in decimal, and zero has no sign.
    """
    return _read(json.dumps(value))


def _in_order(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return an object's pairs by key; of equal keys the last one counts."""
    return dict(sorted(pairs, key=itemgetter(0)))


def _number(text: str) -> int | float:
    return int(Decimal(text)) if "e+" in text else float(text) + 0.0


_read = json.JSONDecoder(object_pairs_hook=_in_order, parse_float=_number).decode


def _fingerprint(arguments: Mapping[str, Json]) -> str:
    return hashlib.sha256(_written(arguments).encode()).hexdigest()[:16]


_written = json.JSONEncoder(sort_keys=True).encode
"""As json.dumps writes it, which would make such an encoder for every step."""

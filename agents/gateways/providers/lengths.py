"""The offline models and how much each of them writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

OFFLINE_STANDARD = "gearbox-offline-standard"
OFFLINE_ECONOMY = "gearbox-offline-economy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long an answer is: the words it may have, and the facts it takes up."""

    words: int
    facts: int


LENGTHS: Mapping[str, Length] = MappingProxyType(
    {
        OFFLINE_STANDARD: Length(words=145, facts=4),
        OFFLINE_ECONOMY: Length(words=50, facts=2),
    }
)

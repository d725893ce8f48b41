"""What a model call asks of its model's quota, and what it is granted."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from quota.domain.classes import PriorityClass


class Ask(NamedTuple):
    """One model call to come; `tokens` is the most that it can use, question and answer together."""

    provider: str
    model: str
    priority_class: PriorityClass
    tokens: int
    tenant: UUID


class Source(StrEnum):
    """Who granted: the store that all share, a block leased from it, or this process's own share while the store is away."""

    STORE = "store"
    BLOCK = "block"
    LOCAL = "local"


class Grant(NamedTuple):
    """Leave to make one model call; settle it with the real usage, or release it if no call was made.

    A probe is the only call that goes while the model is out: what becomes of it decides for all.
    """

    id: int
    provider: str
    model: str
    priority_class: PriorityClass
    tokens: int
    source: Source
    is_probe: bool = False

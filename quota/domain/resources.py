"""What a budget holds, by name."""

from __future__ import annotations

from enum import StrEnum


class Resource(StrEnum):
    """What can run out before a call: money, tokens, or calls of a model."""

    MONEY = "money"
    TOKENS = "tokens"
    CALLS = "model_calls"

"""Which models think before they answer unless they are told not to, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# As Anthropic's model pages of November 2026 have it. A model that cannot stop thinking refuses the field: it is not named here.
_WORDS: Mapping[str, str] = MappingProxyType({"claude-sonnet-5-5": "between_tools", "claude-haiku-5-5": "disabled"})


def off(model: str) -> dict[str, dict[str, str]]:
    """Return the field that turns thinking off, or nothing where the model needs none or is not known.

    Thinking is billed as output and counts towards `max_tokens`: a bound meant for
    the answer would be spent before its first word, and so would a chat's budget.
    """
    return next(({"thinking": {"type": word}} for family, word in _WORDS.items() if family in model), {})

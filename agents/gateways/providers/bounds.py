"""The most that a conversation may count for: what is set aside before a call whose tokens nobody has counted yet.

Tokenizers are trained on prose, of which a word is one token or two, as `count_tokens` has it. What is no prose falls apart: digits into
single ones, letters of mixed case or in long runs into ones and twos, rare signs into the bytes of their UTF-8 (as byte-pair
encodings do), white space into runs. For these the most is counted on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agents.domain.values import Message
from agents.gateways.providers.tokens import MESSAGE_OVERHEAD, count_tokens

_APART = re.compile("[0-9]|(?<=[0-9A-Za-z_])[A-Z]")
_LONG = re.compile("[0-9A-Za-z_\u00c0-\u024f]{13,}|\\s{2,}")
"""Words of prose are rarely longer, and have one space between them."""


def most_tokens(text: str) -> int:
    """Return what a text may count for at most: what `count_tokens` says for prose, and more for what is none."""
    signs = 0 if text.isascii() else len(text.encode("utf-8", "surrogatepass")) - len(text)
    return count_tokens(text) + len(_APART.findall(text)) + sum(len(run) // 2 for run in _LONG.findall(text)) + signs


def most_of_messages(messages: Iterable[Message]) -> int:
    """Return what a whole conversation may count for at most."""
    return sum(most_tokens(message.text) + MESSAGE_OVERHEAD for message in messages)

"""How the offline provider counts tokens, and how everyone estimates what a provider did not count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from agents.domain.values import Message

MESSAGE_OVERHEAD = 4
_WORD = re.compile(r"\S+\s*")
# Latin letters and digits in runs of seven; every other mark and every other script's sign counts for itself.
_TOKEN = re.compile("[0-9A-Za-z_\u00c0-\u024f]{1,7}|\\S")


def count_tokens(text: str) -> int:
    """Return about 1.3 a word of English, the same on every call. Counts of words add up to the count of their text."""
    return len(_TOKEN.findall(text))


def count_messages(messages: Iterable[Message]) -> int:
    """Return the tokens of a whole conversation, a few for each message's frame included."""
    return sum(count_tokens(message.text) + MESSAGE_OVERHEAD for message in messages)


def words(text: str) -> list[str]:
    """Split into words with the white space behind them: joined, they are the text again (leading white space aside)."""
    return _WORD.findall(text)


def cut(text: str, *, max_tokens: int) -> str:
    """Return the longest beginning, in whole words, of at most `max_tokens`; the text itself if it fits."""
    beyond = next(islice(_TOKEN.finditer(text), max_tokens, None), None)
    if beyond is None:
        return text
    end = beyond.start()
    while end and not text[end - 1].isspace():
        end -= 1
    return text[:end].strip()

"""Ways to spoil an honest answer, each by a seeded luck."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any

Row = dict[str, Any]
NUMBER = re.compile(r"\b(?:19|20)\d\d\b|\d+(?= volumes?)")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def wrong_numbers(text: str, luck: Random) -> str:
    """Change every year and every count of volumes."""
    return NUMBER.sub(lambda found: str(int(found[0]) + luck.randint(2, 9)), text)


def wrong_authors(text: str, rows: Sequence[Row], others: Sequence[Row], luck: Random) -> str:
    """Say that each title was written by somebody else."""
    for row in rows:
        text = text.replace(row["author"], luck.choice([other["author"] for other in others if other["author"] != row["author"]]))
    return text


def invented_titles(text: str, rows: Sequence[Row], luck: Random) -> str:
    """Give each title a name that no title has."""
    for row in rows:
        text = text.replace(
            row["title"], f"{luck.choice(('Crimson', 'Silent', 'Paper'))} {luck.choice(('Lanterns', 'Harbour', 'Engines'))}"
        )
    return text


def swapped_sentences(text: str, other: str) -> str:
    """Take every second sentence from an answer about other titles."""
    own, strange = SENTENCE_END.split(text), SENTENCE_END.split(other)
    return " ".join(strange[place] if place % 2 and place < len(strange) else sentence for place, sentence in enumerate(own))

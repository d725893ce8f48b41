"""Reading one field of a JSON object as the type that it must have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from agents.domain.values import Json

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class BadField(ValueError):
    """One field is missing or has a value that cannot be taken."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(f"{field}: {sentence}")
        self.field = field
        self.sentence = sentence


def only(row: Mapping[str, Json], known: Iterable[str]) -> None:
    """Refuse fields that nobody reads: most often they are misspelt."""
    stray = sorted(set(row) - set(known))
    if stray:
        raise BadField(stray[0], "is not a known field")


def text(row: Mapping[str, Json], field: str, *, longest: int = 4_000) -> str:
    value = _given(row, field)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadField(field, f"is not a text: {value!r}")
    if len(value) > longest:
        raise BadField(field, f"has {len(value)} characters; {longest} is the most")
    return value.strip()


def slug(row: Mapping[str, Json], field: str, *, longest: int) -> str:
    value = text(row, field, longest=longest)
    if not SLUG.fullmatch(value):
        raise BadField(field, f"is not lower-case words joined by '-': {value!r}")
    return value


def whole(row: Mapping[str, Json], field: str, *, low: int, high: int) -> int:
    value = _given(row, field)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadField(field, f"is not a whole number from {low} to {high}: {value!r}")
    return value


def one_of(row: Mapping[str, Json], field: str, known: Iterable[str]) -> str:
    value = text(row, field)
    if value not in set(known):
        raise BadField(field, f"is not one of {', '.join(known)}: {value!r}")
    return value


def slugs(row: Mapping[str, Json], field: str, *, longest: int) -> tuple[str, ...]:
    value = _given(row, field)
    if not isinstance(value, list) or not value:
        raise BadField(field, f"is not a list of lower-case words: {value!r}")
    return tuple(slug({field: each}, field, longest=longest) for each in value)


def day(row: Mapping[str, Json], field: str) -> date:
    value = text(row, field)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise BadField(field, f"is not a date like 2026-08-14: {value!r}") from None


def money(row: Mapping[str, Json], field: str) -> Decimal:
    value = _given(row, field)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1_000_000:
        raise BadField(field, f"is not an amount of dollars: {value!r}")
    return Decimal(str(value)).quantize(Decimal("0.01"))


def _given(row: Mapping[str, Json], field: str) -> Json:
    try:
        return row[field]
    except KeyError:
        raise BadField(field, "is missing") from None

"""Catalog and reader files, line by line: what they say, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from agents.domain import fields
from agents.domain.catalog import (
    FIRST_YEAR,
    LAST_YEAR,
    LONGEST_ID,
    LONGEST_NAME,
    LONGEST_SLUG,
    LONGEST_WORD,
    MOST_VOLUMES,
    Demographic,
    PurchaseLine,
    ReaderLine,
    Status,
    TitleLine,
)
from agents.domain.fields import BadField
from agents.domain.values import Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Numbered(Generic[T]):
    """A value and the number of the line that it stood in."""

    line: int
    value: T


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in one line: its number from 1, the field, and a sentence."""

    line: int
    field: str
    sentence: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field} {self.sentence}"


class BadCatalog(ValueError):
    """Lines that cannot be loaded; nothing of the file was."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def read_titles(lines: Iterable[str]) -> list[Numbered[TitleLine]]:
    """Read catalog lines. Raises BadCatalog with every fault, also of a slug that comes twice."""
    found = _parse(lines, _title)
    _refuse(_repeats("slug", ((each.line, each.value.slug) for each in found)))
    return found


def read_readers(lines: Iterable[str], *, volumes: Mapping[str, int]) -> list[Numbered[ReaderLine]]:
    """Read reader lines against the catalog's slugs and volume counts. Raises BadCatalog with every fault."""
    found = _parse(lines, _reader)
    bought = [(each.line, purchase) for each in found for purchase in each.value.purchases]
    _refuse(
        [
            *_repeats("reader", ((each.line, each.value.reader) for each in found)),
            *_repeats("purchases.order", ((line, purchase.order) for line, purchase in bought)),
            *_strangers(bought, volumes),
        ]
    )
    return found


def _parse(lines: Iterable[str], parse: Callable[[Mapping[str, Json]], T]) -> list[Numbered[T]]:
    found: list[Numbered[T]] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                found.append(Numbered(number, parse(_object(line))))
        except BadField as bad:
            faults.append(Fault(number, bad.field, bad.sentence))
    _refuse(faults)
    return found


def _refuse(faults: Iterable[Fault]) -> None:
    found = sorted(faults, key=lambda fault: fault.line)
    if found:
        raise BadCatalog(found)


def _repeats(field: str, keyed: Iterable[tuple[int, str]]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for line, key in keyed:
        if key in first:
            yield Fault(line, field, f"{key!r} stands in line {first[key]} already")
        first.setdefault(key, line)


def _strangers(bought: Iterable[tuple[int, PurchaseLine]], volumes: Mapping[str, int]) -> Iterator[Fault]:
    for line, purchase in bought:
        known = volumes.get(purchase.slug)
        if known is None:
            yield Fault(line, "purchases.slug", f"{purchase.slug!r} is not in the catalog")
        elif purchase.volume > known:
            yield Fault(line, "purchases.volume", f"{purchase.volume} is above the {known} volumes of {purchase.slug}")


def _object(line: str) -> Mapping[str, Json]:
    try:
        value = json.loads(line)
    except ValueError as bad:
        raise BadField("line", f"is not JSON: {bad}") from None
    if not isinstance(value, dict):
        raise BadField("line", "is not a JSON object")
    return value


def _title(row: Mapping[str, Json]) -> TitleLine:
    fields.only(row, TitleLine.__dataclass_fields__)
    return TitleLine(
        slug=fields.slug(row, "slug", longest=LONGEST_SLUG),
        title=fields.text(row, "title", longest=LONGEST_NAME),
        author=fields.text(row, "author", longest=LONGEST_NAME),
        year=fields.whole(row, "year", low=FIRST_YEAR, high=LAST_YEAR),
        demographic=Demographic(fields.one_of(row, "demographic", list(Demographic))),
        genres=fields.slugs(row, "genres", longest=LONGEST_WORD),
        volumes=fields.whole(row, "volumes", low=1, high=MOST_VOLUMES),
        status=Status(fields.one_of(row, "status", list(Status))),
        synopsis=fields.text(row, "synopsis"),
    )


def _reader(row: Mapping[str, Json]) -> ReaderLine:
    fields.only(row, ReaderLine.__dataclass_fields__)
    return ReaderLine(
        reader=fields.text(row, "reader", longest=LONGEST_ID),
        name=fields.text(row, "name", longest=LONGEST_NAME),
        locale=fields.text(row, "locale", longest=LONGEST_WORD),
        joined=fields.day(row, "joined"),
        purchases=tuple(_purchases(row.get("purchases"))),
    )


def _purchases(rows: Json) -> Iterator[PurchaseLine]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadField("purchases", "is not a list of objects")
    for row in rows:
        try:
            yield _purchase(row)
        except BadField as bad:
            raise BadField(f"purchases.{bad.field}", bad.sentence) from None


def _purchase(row: Mapping[str, Json]) -> PurchaseLine:
    fields.only(row, PurchaseLine.__dataclass_fields__)
    return PurchaseLine(
        slug=fields.slug(row, "slug", longest=LONGEST_SLUG),
        volume=fields.whole(row, "volume", low=1, high=MOST_VOLUMES),
        at=fields.day(row, "at"),
        order=fields.text(row, "order", longest=LONGEST_ID),
        price_usd=fields.money(row, "price_usd"),
    )

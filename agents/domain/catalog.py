"""The shop's values: titles, readers, purchases and refund decisions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

FIRST_YEAR, LAST_YEAR = 1900, 2100
MOST_VOLUMES = 1_000
LONGEST_SLUG = 120
LONGEST_NAME = 200
LONGEST_WORD = 30
LONGEST_ID = 40


class Demographic(StrEnum):
    """Whom a magazine prints a title for."""

    SHONEN = "shonen"
    SHOJO = "shojo"
    SEINEN = "seinen"
    JOSEI = "josei"
    KODOMO = "kodomo"


class Status(StrEnum):
    """Whether a title still grows."""

    FINISHED = "finished"
    ONGOING = "ongoing"
    HIATUS = "hiatus"


class Decision(StrEnum):
    """What the fraud team said of a refund."""

    APPROVED = "approved"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleLine:
    """One title of the catalog."""

    slug: str
    title: str
    author: str
    year: int
    demographic: Demographic
    genres: tuple[str, ...]
    volumes: int
    status: Status
    synopsis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseLine:
    """One volume that a reader bought."""

    slug: str
    volume: int
    at: date
    order: str
    price_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLine:
    """One reader and all purchases."""

    reader: str
    name: str
    locale: str
    joined: date
    purchases: tuple[PurchaseLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for in the catalog: words, and filters that each title found must pass."""

    text: str
    demographic: str | None = None
    genres: tuple[str, ...] = ()
    status: str | None = None
    year_from: int | None = None
    year_to: int | None = None
    volumes_to: int | None = None
    limit: int = 5

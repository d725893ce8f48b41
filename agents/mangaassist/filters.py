"""The filters that a question names in words: demographic, genres, status, years and length."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from agents.domain.catalog import Demographic, Status

SHORT = 10
Years = tuple[int | None, int | None]

DEMOGRAPHICS: Mapping[str, str] = MappingProxyType(
    {
        r"sh[oō]u?nen": Demographic.SHONEN,
        r"sh[oō]u?jo": Demographic.SHOJO,
        r"seinen": Demographic.SEINEN,
        r"josei": Demographic.JOSEI,
        r"kodomo|for (?:\w+ )?(?:kids|children)": Demographic.KODOMO,
    }
)
STATUSES: Mapping[str, str] = MappingProxyType(
    {
        r"finished|completed?|concluded": Status.FINISHED,
        r"ongoing|unfinished|still running": Status.ONGOING,
        r"(?:on )?hiatus": Status.HIATUS,
    }
)
GENRES: Mapping[str, str] = MappingProxyType(
    {
        r"action": "action",
        r"adventures?": "adventure",
        r"comed(?:y|ies)|funny": "comedy",
        r"crime": "crime",
        r"dramas?": "drama",
        r"famil(?:y|ies)": "family",
        r"fantasy": "fantasy",
        r"food|cooking|culinary": "food",
        r"games?|gambling": "games",
        r"historical|history": "historical",
        r"horror|scary": "horror",
        r"martial[ -]arts": "martial-arts",
        r"mecha|giant robots?": "mecha",
        r"music|musical": "music",
        r"myster(?:y|ies)|detectives?": "mystery",
        r"psychological": "psychological",
        r"romance|romances|romantic|love stor(?:y|ies)": "romance",
        r"school": "school",
        r"sci-?fi|science[ -]fiction": "sci-fi",
        r"slice[ -]of[ -]life": "slice-of-life",
        r"sports?": "sports",
        r"supernatural": "supernatural",
        r"survival": "survival",
        r"thrillers?": "thriller",
        r"war": "war",
        r"workplace|office": "workplace",
    }
)
LENGTH = r"short(?:er|est)?|brief|not (?:too|so) long"
BETWEEN = r"between (\d{4}) and (\d{4})"
YEARS: Mapping[str, Years] = MappingProxyType(
    {
        r"before (\d{4})": (None, -1),
        r"(?:until|up to) (\d{4})": (None, 0),
        r"(?:since|starting in) (\d{4})": (0, None),
        r"after (\d{4})": (1, None),
        r"in (\d{4})": (0, 0),
        r"((?:19|20)\d0)'?s": (0, 9),
    }
)
"""What to add to the year that a pattern finds, for the first and the last year wanted; None leaves that end open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What each title found must be."""

    demographic: str | None = None
    genres: tuple[str, ...] = ()
    status: str | None = None
    year_from: int | None = None
    year_to: int | None = None
    volumes_to: int | None = None

    def arguments(self) -> dict[str, Any]:
        """Return those that are set, as search_catalog's keywords and as JSON."""
        given = {name: value for name, value in asdict(self).items() if value}
        return given | {"genres": list(self.genres)} if self.genres else given


def read_filters(text: str) -> Filters:
    """Read the filters of a question; of two that contradict one another the later counts."""
    first, last = _years(text)
    return Filters(
        demographic=_latest(text, DEMOGRAPHICS),
        genres=tuple(sorted({genre for pattern, genre in GENRES.items() if _found(pattern, text)})),
        status=_latest(text, STATUSES),
        year_from=first,
        year_to=last,
        volumes_to=SHORT if _found(LENGTH, text) else None,
    )


def without_filters(text: str) -> str:
    """Return the text without the words that were read as filters."""
    for pattern in (BETWEEN, *YEARS, *DEMOGRAPHICS, *STATUSES, *GENRES, LENGTH):
        text = _whole_words(pattern).sub(" ", text)
    return text


def _latest(text: str, known: Mapping[str, str]) -> str | None:
    places = {found.end(): value for pattern, value in known.items() for found in _whole_words(pattern).finditer(text)}
    return str(places[max(places)]) if places else None


def _years(text: str) -> Years:
    """Narrow by each range in its order; one that leaves no year starts anew."""
    known: Years = (None, None)
    for first, last in _ranges(text):
        both = (first or known[0], last or known[1])
        known = (first, last) if both[0] and both[1] and both[0] > both[1] else both
    return known


def _ranges(text: str) -> list[Years]:
    between = [(found.start(), (int(found[1]), int(found[2]))) for found in _whole_words(BETWEEN).finditer(text)]
    others = [
        (found.start(), (_shifted(found[1], to_first), _shifted(found[1], to_last)))
        for pattern, (to_first, to_last) in YEARS.items()
        for found in _whole_words(pattern).finditer(text)
    ]
    return [years for _, years in sorted([*between, *others], key=itemgetter(0))]


def _shifted(year: str, by: int | None) -> int | None:
    return None if by is None else int(year) + by


def _found(pattern: str, text: str) -> bool:
    return bool(_whole_words(pattern).search(text))


def _whole_words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)

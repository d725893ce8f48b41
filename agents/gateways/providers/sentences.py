"""One fact put into words: nothing is said that the fact does not hold, and what it holds is said exactly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from agents.gateways.providers.briefing import Fact

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

DESCRIPTIONS = (
    "{title}{by} is {kind}{since}{tail}.",
    "{title}{since} is {kind}{by}{tail}.",
    "There is {title}{by}, {kind}{since}{tail}.",
    "{title} is {kind}{since}{by}{tail}.",
)

REMARKS = (
    "Readers of {genres} should feel at home in {title}.",
    "{title} is worth a look for anyone who likes {genres}.",
    "For {genres}, {title} is a sound choice.",
)


def is_book(fact: Fact) -> bool:
    """Say whether the fact is a title of the catalog."""
    return "title" in fact and ("author" in fact or "synopsis" in fact)


def is_purchase(fact: Fact) -> bool:
    return "title" in fact and ("volume" in fact or "reader_name" in fact) and not is_book(fact) and not is_refund(fact)


def is_refund(fact: Fact) -> bool:
    return "order" in fact and "decision" in fact


def is_other(fact: Fact) -> bool:
    return not (is_book(fact) or is_purchase(fact) or is_refund(fact))


def describe(book: Fact, luck: Random) -> str:
    """Say all that the catalog knows of a title but its synopsis, in one sentence."""
    genres = listed(book.get("genres"))
    tail = _after_commas(_volumes(book), _text(book.get("status")), f"with {genres}" if genres else "")
    since = f" from {book['year']}" if book.get("year") else ""
    return luck.choice(DESCRIPTIONS).format(title=book["title"], by=by(book), kind=_kind(book), since=since, tail=tail)


def synopsis(book: Fact) -> tuple[str, ...]:
    """Return the sentences of the synopsis."""
    return tuple(closed(part) for part in _SENTENCE_END.split(_text(book.get("synopsis"))) if part)


def remark(book: Fact, luck: Random) -> tuple[str, ...]:
    """Return a sentence of advice where the genres give one."""
    genres = listed(book.get("genres"))
    return (luck.choice(REMARKS).format(genres=genres, title=book["title"]),) if genres else ()


def by(book: Fact) -> str:
    return f" by {book['author']}" if book.get("author") else ""


def bought(purchases: Sequence[Fact]) -> str:
    """Say which volumes of one title were bought: `volume 1 and volume 2 of Monster`."""
    volumes = listed([f"volume {purchase['volume']}" for purchase in purchases if purchase.get("volume") is not None])
    title = purchases[0]["title"]
    return f"{volumes} of {title}" if volumes else str(title)


def day(fact: Fact) -> str:
    """Return ` on 2026-11-02` where the fact has a moment."""
    at = _text(fact.get("at"))
    return f" on {at[:10]}" if at else ""


def state(fact: Fact) -> str:
    """Put a fact of an unknown kind into words: whole sentences as they are, single values with their name."""
    said = ((key.replace("_", " "), _text(value)) for key, value in fact.items())
    return " ".join(closed(text if text.count(" ") > 3 else f"{name.capitalize()}: {text}") for name, text in said if text)


def listed(values: Any) -> str:
    """Return `a, b and c`; nothing for nothing."""
    items = [_text(value) for value in values] if isinstance(values, list | tuple) else [_text(values)]
    present = [item for item in items if item]
    return " and ".join(part for part in (", ".join(present[:-1]), *present[-1:]) if part)


def closed(text: str) -> str:
    """Return the text ending as a sentence ends."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _kind(book: Fact) -> str:
    demographic = _text(book.get("demographic"))
    if not demographic:
        return "a series"
    return f"{'an' if demographic[0].lower() in 'aeiou' else 'a'} {demographic} series"


def _volumes(book: Fact) -> str:
    count = book.get("volumes")
    if count is None:
        return ""
    return f"in {count} volume" if count == 1 else f"in {count} volumes"


def _after_commas(*parts: str) -> str:
    return "".join(f", {part}" for part in _present(parts))


def _present(parts: Iterable[str]) -> Iterable[str]:
    return (part for part in parts if part)


def _text(value: Any) -> str:
    """Return a value as it is read aloud; lists and objects of unknown facts as JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else " ".join(str(value).split())

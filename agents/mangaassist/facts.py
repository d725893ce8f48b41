"""From skills' results to a plan's facts: what the answer may be written from, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from agents.domain.values import Json

MOST_PURCHASES = 12
FAVOURITES = 3
POLICY = {
    "refund_policy": "An order can be refunded within 30 days, after the fraud team has looked at it.",
    "what_to_do": "Send the order number from your receipt to the endpoint refund@1; the decision comes as the result of that job.",
}


def purchases(history: Mapping[str, Json]) -> list[Json]:
    """Return the newest purchases of a reader, without order numbers and prices."""
    return [
        {"reader_name": history["name"], "title": bought["title"], "volume": bought["volume"], "at": bought["at"]}
        for bought in history["purchases"][:MOST_PURCHASES]
    ]


def order(found: Mapping[str, Json]) -> Json:
    """Return an order's decision as a fact."""
    return {name: found[name] for name in ("order", "title", "volume", "amount_usd", "decision")}


def alike(title: Mapping[str, Json]) -> Json:
    """Return what titles like this one were looked for by."""
    return {"looked_for": f"These titles share genres with {title['title']} by {title['author']}."}


def favourite_genres(history: Mapping[str, Json]) -> list[str]:
    """Return the genres that a reader bought most, the most frequent first; equals by name."""
    counted = Counter(genre for bought in history["purchases"] for genre in bought["genres"])
    return sorted(counted, key=lambda genre: (-counted[genre], genre))[:FAVOURITES]


def owned(history: Mapping[str, Json]) -> set[str]:
    return {bought["slug"] for bought in history["purchases"]}


def without(titles: Iterable[Json], slugs: Iterable[str]) -> list[Json]:
    """Return the titles whose slugs are not among these."""
    left_out = set(slugs)
    return [title for title in titles if title["slug"] not in left_out]


def slugs(titles: Sequence[Json]) -> list[str]:
    return [title["slug"] for title in titles]

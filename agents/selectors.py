"""Reads of the shop's tables from the event loop, as JSON."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import LiteralString

from agents.domain.catalog import Search
from agents.domain.values import Json
from agents.gateways import postgres

TITLE: LiteralString = "slug, title, author, year, demographic, genres, volumes, status, synopsis"

FILTERS: LiteralString = """
      (%(demographic)s::text IS NULL OR demographic = %(demographic)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(year_from)s::int IS NULL OR year >= %(year_from)s)
  AND (%(year_to)s::int IS NULL OR year <= %(year_to)s)
  AND (%(volumes_to)s::int IS NULL OR volumes <= %(volumes_to)s)
  AND genres @> %(genres)s::varchar[]
"""

# A title that the text names in full comes before all that merely share words with it. The weights are
# those of D, C, B, A: a word of the title counts more than ten times a word of the synopsis.
MATCHES: LiteralString = f"""
SELECT {TITLE}
FROM agents_title, websearch_to_tsquery('english', %(words)s) AS wanted
WHERE (numnode(wanted) = 0 OR search @@ wanted) AND {FILTERS}
ORDER BY to_tsvector('simple', %(text)s) @@ phraseto_tsquery('simple', title) DESC,
         ts_rank_cd('{{0.05, 0.08, 0.4, 1.0}}', search, wanted) DESC, cardinality(genres), slug
LIMIT %(limit)s
"""  # noqa: S608  (literals alone are joined: mypy checks LiteralString)

NAMED: LiteralString = f"""
SELECT {TITLE}
FROM agents_title
WHERE to_tsvector('simple', %(text)s) @@ phraseto_tsquery('simple', title) AND {FILTERS}
ORDER BY length(title) DESC, slug
LIMIT %(limit)s
"""  # noqa: S608  (literals alone are joined: mypy checks LiteralString)

READER: LiteralString = """
SELECT reader, name, locale, joined::text FROM agents_reader WHERE reader = %(reader)s
"""

PURCHASES: LiteralString = """
SELECT bought.order, slug, title, genres, volume, at::text, price_usd::float8
FROM agents_purchase AS bought JOIN agents_title ON slug = title_id
WHERE reader_id = %(reader)s
ORDER BY at DESC, bought.order
"""

ORDER: LiteralString = """
SELECT bought.order, reader, name AS reader_name, slug, title, volume, at::text, price_usd::float8,
       decision, amount_usd::float8
FROM agents_purchase AS bought
JOIN agents_reader ON reader = bought.reader_id
JOIN agents_title ON slug = title_id
LEFT JOIN agents_refund ON agents_refund.order = bought.order
WHERE bought.order = %(order)s
"""


async def search(wanted: Search) -> list[Json]:
    """Return titles, best first: all words match; or one of them does; or the text names the title."""
    values = asdict(wanted) | {"genres": list(wanted.genres)}
    any_word = " or ".join(re.findall(r"\w+", wanted.text))
    return (
        await postgres.fetch(MATCHES, words=wanted.text, **values)
        or await postgres.fetch(MATCHES, words=any_word, **values)
        or await postgres.fetch(NAMED, **values)
    )


async def title(slug: str) -> Json | None:
    return await _one(f"SELECT {TITLE} FROM agents_title WHERE slug = %(slug)s", slug=slug)  # noqa: S608


async def reader(reader: str) -> Json | None:
    """Return the reader with all purchases, newest first."""
    found = await _one(READER, reader=reader)
    return found and {**found, "purchases": await postgres.fetch(PURCHASES, reader=reader)}


async def order(order: str) -> Json | None:
    """Return what was bought by whom, with the refund's `decision` and `amount_usd`, both null before one."""
    return await _one(ORDER, order=order)


async def _one(sql: LiteralString, **values: str) -> Json | None:
    return next(iter(await postgres.fetch(sql, **values)), None)

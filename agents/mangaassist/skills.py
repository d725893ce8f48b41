"""MangaAssist's skills: what it can look up, and the one thing that it can change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from agents import selectors
from agents.domain.catalog import Decision, Search
from agents.domain.contract import skill
from agents.domain.run import Run
from agents.domain.values import Json
from agents.mangaassist.errors import UnknownOrder, UnknownReader, UnknownTitle
from agents.services import refunds


@skill
async def search_catalog(
    run: Run,
    *,
    text: str,
    demographic: str | None = None,
    genres: Sequence[str] = (),
    status: str | None = None,
    year_from: int | None = None,
    year_to: int | None = None,
    volumes_to: int | None = None,
    limit: int = 5,
) -> Json:
    """Find titles by words and filters, best first; without words, all that pass the filters."""
    return await selectors.search(
        Search(
            text=text,
            demographic=demographic,
            genres=tuple(genres),
            status=status,
            year_from=year_from,
            year_to=year_to,
            volumes_to=volumes_to,
            limit=limit,
        )
    )


@skill
async def read_title(run: Run, *, slug: str) -> Json:
    """Read one title of the catalog. Raises UnknownTitle."""
    found = await selectors.title(slug)
    if found is None:
        raise UnknownTitle(f"The catalog has no title {slug!r}.")
    return found


@skill
async def reader_history(run: Run, *, reader: str) -> Json:
    """Read a reader with all purchases, newest first. Raises UnknownReader."""
    found = await selectors.reader(reader)
    if found is None:
        raise UnknownReader(f"There is no reader {reader!r}.")
    return found


@skill
async def read_order(run: Run, *, order: str) -> Json:
    """Read what an order bought, and its refund's decision if there is one. Raises UnknownOrder."""
    found = await selectors.order(order)
    if found is None:
        raise UnknownOrder(f"There is no order {order!r}.")
    return found


@skill
async def issue_refund(run: Run, *, order: str, decision: str) -> Json:
    """Decide an order's refund, once: a later decision returns the first. Raises UnknownOrder."""
    stored = await refunds.issue(order, decision=Decision(decision), effect_key=run.effect_key(f"refund:{order}"), now=datetime.now(UTC))
    if stored is None:
        raise UnknownOrder(f"There is no order {order!r}.")
    return stored

"""MangaAssist: questions about titles, letters, catalog texts, retention summaries and refunds, by one class."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from agents.domain.catalog import Decision
from agents.domain.contract import agent
from agents.domain.run import Run
from agents.domain.values import Delta, Json, Output, Plan, Request, Tier, Verification
from agents.mangaassist import facts, intent, prompts, reading
from agents.mangaassist.errors import NothingAsked, UnknownOrder
from agents.mangaassist.intent import Intent, Task
from agents.mangaassist.rubric import ANSWER_RUBRIC
from agents.mangaassist.skills import issue_refund, read_order, read_title, reader_history, search_catalog
from agents.mangaassist.verifiers import no_private_data

NEW_TO_READER = 3
APPROVAL: Mapping[str, Json] = MappingProxyType(
    {
        "type": "object",
        "properties": {"approve": {"type": "boolean"}, "note": {"type": "string"}},
        "required": ["approve"],
        "additionalProperties": False,
    }
)


@agent(
    "mangaassist",
    version=1,
    skills=[search_catalog, read_title, reader_history, read_order, issue_refund],
    rubric=ANSWER_RUBRIC,
    verifiers=[no_private_data],
    tiers=(Tier.STANDARD, Tier.ECONOMY),
)
class MangaAssist:
    """A shop assistant. `input` holds `text`, `title` (a slug), `reader` or `order`, in any combination."""

    async def plan(self, run: Run, request: Request) -> Plan:
        """Look up what the answer needs. Raises NothingAsked, UnknownTitle, UnknownReader or UnknownOrder."""
        wish = intent.read(request)
        await run.progress(done=0, of=2, note=f"looking up what the {wish.task} needs")
        found = await _GATHER[wish.task](run, wish)
        await run.progress(done=1, of=2, note=f"writing the {wish.task}")
        return Plan(
            summary=_summary(found),
            facts={**_BARE, "task": str(wish.task), "request": wish.text, "history": prompts.remember(request.history), **found},
            verification=Verification.BUFFER if wish.is_delicate else Verification.DRAFT,
        )

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        """Write from the plan's facts alone."""
        pieces: list[str] = []
        async for piece in run.model(prompts.messages(plan)):
            pieces.append(piece)
            yield Delta(piece)
        yield Output({"text": "".join(pieces), "titles": facts.slugs(plan.facts["titles"]), "task": plan.facts["task"]})


Found = dict[str, Any]
_BARE: Mapping[str, Json] = MappingProxyType({"titles": [], "purchases": [], "records": [], "reader": None})


async def _answer(run: Run, wish: Intent) -> Found:
    if wish.title:
        return {"titles": [await read_title(run, slug=wish.title)]}
    if not wish.text:
        raise NothingAsked("The input has no text, title, reader or order.")
    named = await _named(run, wish)
    if named and wish.wants_alike:
        return {"titles": await _alike(run, named), "records": [facts.alike(named[0])]}
    return {"titles": named or await _searched(run, wish)}


async def _named(run: Run, wish: Intent) -> list[Json]:
    """Return the titles that the text names in full, whatever else it says."""
    found = await search_catalog(run, text=wish.text, limit=3)
    return [title for title in found if reading.names(wish.text, title["title"])]


async def _alike(run: Run, named: list[Json]) -> list[Json]:
    found = await search_catalog(run, text=" or ".join(named[0]["genres"]), limit=3 + len(named))
    return facts.without(found, facts.slugs(named))


async def _searched(run: Run, wish: Intent) -> list[Json]:
    found: list[Json] = await search_catalog(run, **wish.arguments()) if wish.looks_for_something else []
    return found


async def _letter(run: Run, wish: Intent) -> Found:
    history = await reader_history(run, reader=wish.reader)
    featured = [await read_title(run, slug=wish.title)] if wish.title else []
    titles = [*featured, *facts.without(await _to_taste(run, history), facts.slugs(featured))]
    return {"titles": titles[:NEW_TO_READER], **_of_reader(history)}


async def _retain(run: Run, wish: Intent) -> Found:
    history = await reader_history(run, reader=wish.reader)
    return {"titles": (await _to_taste(run, history))[:1], **_of_reader(history)}


async def _to_taste(run: Run, history: Mapping[str, Json]) -> list[Json]:
    """Return titles of the genres that the reader buys most, none of them owned."""
    owned = facts.owned(history)
    found = await search_catalog(run, text=" or ".join(facts.favourite_genres(history)), limit=NEW_TO_READER + len(owned))
    return facts.without(found, owned)


async def _enrich(run: Run, wish: Intent) -> Found:
    return {"titles": [await read_title(run, slug=wish.title)]}


async def _refund(run: Run, wish: Intent) -> Found:
    """Decide an order's refund; without an order say how to ask for one. A decision that stands is not asked for again."""
    if not wish.order:
        return {"task": str(Task.ANSWER), "records": [facts.POLICY]}
    found = await read_order(run, order=wish.order)
    if wish.reader and wish.reader != found["reader"]:
        raise UnknownOrder(f"There is no order {wish.order!r}.")
    decided = found if found["decision"] else await _decide(run, found)
    return {"records": [facts.order(decided)], "reader": found["reader"]}


async def _decide(run: Run, found: Mapping[str, Json]) -> Json:
    verdict = await run.ask(
        "fraud_check",
        f"Refund {found['price_usd']:.2f} USD for {found['title']} volume {found['volume']}, order {found['order']} of {found['at']}?",
        schema=APPROVAL,
    )
    decision = Decision.APPROVED if verdict["approve"] else Decision.DENIED
    return await issue_refund(run, order=found["order"], decision=str(decision))


def _of_reader(history: Mapping[str, Json]) -> Found:
    about = {"name": history["name"], "reader_since": history["joined"]}
    return {"purchases": facts.purchases(history), "records": [about], "reader": history["reader"]}


def _summary(found: Mapping[str, Json]) -> str:
    titles = ", ".join(title["title"] for title in found.get("titles", ()))
    return f"Write from {titles}." if titles else "Write without a title of the catalog."


_GATHER: Mapping[Task, Callable[[Run, Intent], Awaitable[Found]]] = MappingProxyType(
    {Task.ANSWER: _answer, Task.LETTER: _letter, Task.ENRICH: _enrich, Task.RETAIN: _retain, Task.REFUND: _refund}
)

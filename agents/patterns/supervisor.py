"""The supervisor: it hands each title to a child of its own, waits with its slot free, and writes one comparison of what they found."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from agents.domain.contract import Criterion, Evidence, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Json, Message, Output, Plan, Request, Role
from agents.domain.waits import Outcome
from agents.mangaassist import intent, reading
from agents.mangaassist.skills import read_title, search_catalog
from agents.mangaassist.verifiers import no_private_data
from agents.patterns.errors import NothingFoundOut, NothingToCompare

RESEARCH = "personalize@1"
MOST_TITLES = 4
USUAL_TITLES = 3
SENTENCES_OF_EACH = 2
STYLE = (
    "You compare manga for a shop. Write plain English of 60 to 160 words, and only from the FACTS below, one JSON object a line. "
    "Say what sets the titles apart; where a fact is missing, say so. TASK names what to write."
)


def _names_each(evidence: Evidence) -> float:
    told = [reading.names(str(evidence.output.get("text", "")), title["title"]) for title in evidence.facts.get("titles", ())]
    return sum(told) / len(told) if told else 0.0


def _tells_findings(evidence: Evidence) -> float:
    """Return which share of the findings' words of meaning the text takes up."""
    meant = {stem for record in evidence.facts.get("records", ()) for stem in reading.content(" ".join(record.values()))}
    told = set(reading.content(str(evidence.output.get("text", ""))))
    return len(meant & told) / len(meant) if meant else 0.0


COMPARISON_RUBRIC = Rubric(
    name="comparison",
    version=1,
    criteria=(
        Criterion(name="complete", question="Does it speak of every title?", weight=0.5, measure=_names_each),
        Criterion(name="informed", question="Does it tell what was found out?", weight=0.5, measure=_tells_findings),
    ),
)


@agent("supervisor", version=1, skills=[search_catalog, read_title], rubric=COMPARISON_RUBRIC, verifiers=[no_private_data])
class Supervisor:
    """`input` holds `titles` (two to four slugs) or a `text` to find some by."""

    async def plan(self, run: Run, request: Request) -> Plan:
        """Let one child look into each title. Raises NothingToCompare, UnknownTitle or NothingFoundOut."""
        titles = await _titles(run, request)
        await run.progress(done=0, of=len(titles), note="handing each title to an agent of its own")
        children = await run.spawn(RESEARCH, [{"title": title["slug"]} for title in titles])
        outcomes = await run.join(children)
        records = [_record(title, outcome) for title, outcome in zip(titles, outcomes, strict=True)]
        if not any(outcome.is_completed for outcome in outcomes):
            raise NothingFoundOut("; ".join(str((outcome.error or {}).get("sentence")) for outcome in outcomes))
        await run.progress(done=len(titles), of=len(titles), note="writing the comparison")
        named = [{"slug": title["slug"], "title": title["title"]} for title in titles]
        return Plan(
            summary=f"Compare {', '.join(title['title'] for title in titles)}.",
            facts={"request": str(request.input.get("text", "")), "titles": named, "records": records, "ended": _ended(outcomes)},
        )

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        """Write from what the children found out, alone."""
        pieces: list[str] = []
        async for piece in run.model(_messages(plan.facts)):
            pieces.append(piece)
            yield Delta(piece)
        titles = [title["slug"] for title in plan.facts["titles"]]
        yield Output({"text": "".join(pieces), "titles": titles, "children": plan.facts["ended"]})


async def _titles(run: Run, request: Request) -> list[Any]:
    named = request.input.get("titles") or []
    wish = intent.read(request)
    if named:
        found = [await read_title(run, slug=slug) for slug in dict.fromkeys(named)]
    else:
        found = await search_catalog(run, **{**wish.arguments(), "limit": USUAL_TITLES}) if wish.looks_for_something else []
    if not 2 <= len(found) <= MOST_TITLES:
        raise NothingToCompare(f"{len(found)} titles are named or found; two to {MOST_TITLES} can be compared.")
    return found


def _record(title: Mapping[str, Json], outcome: Outcome) -> dict[str, str]:
    """Return the gist of what a child found out, or that it found nothing."""
    if outcome.output is None:
        return {"missing": f"Nothing could be found out about {title['title']}."}
    return {"finding": " ".join(reading.sentences(str(outcome.output["text"]), [title["title"]])[:SENTENCES_OF_EACH])}


def _ended(outcomes: Sequence[Outcome]) -> list[Json]:
    return [{"id": outcome.child.id, "state": "completed" if outcome.is_completed else "failed"} for outcome in outcomes]


def _messages(facts: Mapping[str, Json]) -> list[Message]:
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in facts["records"]]
    asked = "\n".join([facts["request"], "TASK: summary", "FACTS:", *lines]).lstrip()
    return [Message(Role.SYSTEM, STYLE), Message(Role.USER, asked)]

"""The broker: it reads what a request is about, lets the endpoint that is made for it answer, and hands that answer on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

from agents.domain.contract import Criterion, Evidence, Rubric, agent
from agents.domain.run import Run
from agents.domain.values import Delta, Json, Output, Plan, Request, Verification
from agents.mangaassist import intent
from agents.mangaassist.intent import Intent, Task
from agents.mangaassist.verifiers import no_private_data
from agents.patterns.errors import NothingToRoute

COMPARE = re.compile(r"\b(compar\w+|versus|vs|differen\w+ between)\b", re.IGNORECASE)
COMPARISONS = "compare@1"
REFUNDS = "refund@1"
EVERYTHING_ELSE = "personalize@1"
TAKEN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {COMPARISONS: ("text",), REFUNDS: ("text", "order", "reader"), EVERYTHING_ELSE: ("text", "title", "reader")}
)
"""What of a request each endpoint is handed."""


def _has_answer(evidence: Evidence) -> float:
    return float(bool(str(evidence.output.get("text", "")).strip()))


ROUTING_RUBRIC = Rubric(
    name="routing",
    version=1,
    criteria=(Criterion(name="answered", question="Did the chosen endpoint answer?", weight=1.0, measure=_has_answer),),
)


@agent("broker", version=1, rubric=ROUTING_RUBRIC, verifiers=[no_private_data])
class Broker:
    """`input` holds `text`, `title`, `reader` or `order`, in any combination."""

    async def plan(self, run: Run, request: Request) -> Plan:
        """Choose an endpoint and let it answer, with all that this run may spend. Raises NothingToRoute or ChildFailed."""
        endpoint = route(intent.read(request))
        await run.progress(done=0, of=1, note=f"handing the request to {endpoint}")
        given = {name: request.input[name] for name in TAKEN[endpoint] if name in request.input}
        child = await run.spawn(endpoint, given, cost_usd=run.remaining_usd, tokens=run.remaining_tokens, model_calls=run.remaining_calls)
        [outcome] = await run.join([child])
        answer = dict(outcome.value())
        return Plan(
            summary=f"Hand on what {endpoint} answers.",
            facts={"endpoint": endpoint, "answer": answer, "reader": request.input.get("reader")},
            verification=Verification.BUFFER if endpoint == REFUNDS else None,
        )

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        text = str(plan.facts["answer"]["text"])
        yield Delta(text)
        yield Output(_output(plan.facts, text))


def route(wish: Intent) -> str:
    """Return the endpoint for what is wanted: money first, then comparisons, then whatever else a person may ask."""
    if wish.order:
        return REFUNDS
    if COMPARE.search(wish.text) and wish.task is Task.ANSWER:
        return COMPARISONS
    if wish.text or wish.title or wish.reader:
        return EVERYTHING_ELSE
    raise NothingToRoute("The input has no text, title, reader or order.")


def _output(facts: Mapping[str, Json], text: str) -> dict[str, Json]:
    return {"text": text, "endpoint": facts["endpoint"], "titles": facts["answer"].get("titles", [])}

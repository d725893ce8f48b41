"""The messages for the model: a style, the session so far, and the request with its task and facts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from agents.domain.values import Exchange, Json, Message, Plan, Role

STYLE = (
    "You are MangaAssist, the assistant of a manga shop. Write plain, friendly English of 60 to 160 words. "
    "Everything you say of titles, people, orders and money comes from the FACTS below, one JSON object a line; "
    "if they do not answer the request, say so. Never show e-mail addresses, card or phone numbers, or reader ids. "
    "TASK names what to write: answer a question, a letter to a reader, enrich one title with a blurb and reading "
    "advice, retain (a monthly retention summary of one reader), or refund (state the decision)."
)


def messages(plan: Plan) -> list[Message]:
    """Return all messages for one answer; only facts that the plan holds are in them."""
    return [Message(Role.SYSTEM, STYLE), *_history(plan.facts), Message(Role.USER, _request(plan.facts))]


def remember(history: tuple[Exchange, ...]) -> list[Json]:
    """Return the session's earlier turns as a plan's facts hold them."""
    return [{"asked": earlier.asked, "answered": earlier.answered} for earlier in history]


def _history(facts: Mapping[str, Json]) -> Iterator[Message]:
    for earlier in facts["history"]:
        yield Message(Role.USER, earlier["asked"])
        yield Message(Role.ASSISTANT, earlier["answered"])


def _request(facts: Mapping[str, Json]) -> str:
    known = [*facts["titles"], *facts["purchases"], *facts["records"]]
    lines = [json.dumps(fact, ensure_ascii=False, separators=(",", ":")) for fact in known]
    return "\n".join([facts["request"], f"TASK: {facts['task']}", "FACTS:", *lines]).lstrip()

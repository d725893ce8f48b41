"""The endpoints of this installation: MangaAssist, one class, under four modes, and two agents that work through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from agents.domain.values import Verification
from invocation.domain.endpoints import Endpoint, EscapeHatch, Estimate, Limits
from invocation.domain.modes import Mode, WaitKind
from invocation.domain.sessions import OnDisconnect, OnDoubleSend

PROPERTIES: Mapping[str, Any] = {
    "text": {"type": "string", "minLength": 1, "maxLength": 8_000, "description": "What is asked, in plain words."},
    "title": {"type": "string", "pattern": "^[a-z0-9-]{1,120}$", "description": "A title's slug in the catalog."},
    "reader": {"type": "string", "pattern": "^r-[0-9]{3,9}$", "description": "A reader's id."},
    "order": {"type": "string", "pattern": "^o-[0-9]{3,12}$", "description": "An order's id."},
}
OUTPUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "titles": {"type": "array", "items": {"type": "string"}},
        "task": {"enum": ["answer", "letter", "enrich", "retain", "refund"]},
    },
    "required": ["text", "titles", "task"],
    "additionalProperties": False,
}

COMPARISON: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "titles": {"type": "array", "items": {"type": "string"}},
        "children": {"type": "array", "items": {"type": "object"}, "description": "The job of each title, and how it ended."},
    },
    "required": ["text", "titles", "children"],
    "additionalProperties": False,
}
ROUTED: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "endpoint": {"type": "string", "description": "Which endpoint answered."},
        "titles": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["text", "endpoint", "titles"],
    "additionalProperties": False,
}
COMPARED: Mapping[str, Any] = {
    "text": PROPERTIES["text"],
    "titles": {"type": "array", "items": PROPERTIES["title"], "minItems": 2, "maxItems": 4, "description": "Slugs in the catalog."},
}

ANSWER = timedelta(seconds=3)
PER_TOKEN = timedelta(milliseconds=10)
CHARACTERS_A_TOKEN = 4


def asks(*required: str) -> dict[str, Any]:
    """Every endpoint takes the same properties; what each cannot do without differs."""
    return {"type": "object", "properties": dict(PROPERTIES), "required": list(required), "additionalProperties": False}


def estimate(value: Mapping[str, Any]) -> Estimate:
    """Answering takes about three seconds, and ten milliseconds more for each token of the question."""
    tokens = len(value.get("text", "")) // CHARACTERS_A_TOKEN
    return Estimate(duration=ANSWER + tokens * PER_TOKEN, tokens=tokens)


def mangaassist(name: str, mode: Mode, summary: str, **terms: Any) -> Endpoint:
    return Endpoint(
        name=name,
        version=1,
        agent="mangaassist",
        agent_version=1,
        mode=mode,
        summary=summary,
        output_schema=OUTPUT,
        estimate=estimate,
        **terms,
    )


ENDPOINTS: Sequence[Endpoint] = (
    mangaassist(
        "chat",
        Mode.STREAMING_SYNC,
        "Ask the shop assistant and read the answer as it is written.",
        input_schema=asks("text"),
        floor=Verification.DRAFT,
        escape=EscapeHatch(
            text="I could not finish this in time. I can go on in the background and show you the result.", offer="personalize@1"
        ),
        sibling="personalize@1",
    ),
    mangaassist(
        "voice",
        Mode.STREAMING_SYNC,
        "The same assistant for a voice: first words sooner, the whole answer shorter.",
        input_schema=asks("text"),
        floor=Verification.DRAFT,
        on_disconnect=OnDisconnect.CANCEL,
        on_double_send=OnDoubleSend.REPLACE,
        first_delta=timedelta(milliseconds=700),
        whole=timedelta(seconds=5),
        escape=EscapeHatch(text="Sorry, that took too long. Please ask me once more.", offer="personalize@1"),
        sibling="personalize@1",
    ),
    mangaassist(
        "personalize",
        Mode.ASYNC_QUEUE,
        "Write a reader's letter, or answer at leisure.",
        input_schema=asks(),
    ),
    mangaassist(
        "refund",
        Mode.ASYNC_QUEUE,
        "Refund an order once the fraud team has agreed.",
        input_schema=asks("order"),
        floor=Verification.BUFFER,
        cost_usd=Decimal("0.10"),
        may_wait=frozenset({WaitKind.PERSON}),
    ),
    mangaassist(
        "enrich",
        Mode.BATCH_WINDOW,
        "Write the shop's text for each title of a list.",
        input_schema=asks("title"),
        limits=Limits(items=5_000_000),
    ),
    mangaassist(
        "retention",
        Mode.SCHEDULED_TRIGGER,
        "Summarise a reader's month, on a schedule.",
        input_schema=asks("reader"),
    ),
    Endpoint(
        name="compare",
        version=1,
        agent="supervisor",
        agent_version=1,
        mode=Mode.ASYNC_QUEUE,
        summary="Compare titles: one agent looks into each, another sums up.",
        input_schema={"type": "object", "properties": dict(COMPARED), "minProperties": 1, "additionalProperties": False},
        output_schema=COMPARISON,
        estimate=estimate,
        may_wait=frozenset({WaitKind.CHILDREN}),
    ),
    Endpoint(
        name="route",
        version=1,
        agent="broker",
        agent_version=1,
        mode=Mode.ASYNC_QUEUE,
        summary="Ask anything: the endpoint that is made for it answers.",
        input_schema=asks(),
        output_schema=ROUTED,
        estimate=estimate,
        may_wait=frozenset({WaitKind.CHILDREN}),
    ),
)

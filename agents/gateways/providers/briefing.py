"""What the offline model reads out of a conversation: the task, the facts and whether something went before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agents.domain.values import Message, Role

Fact = Mapping[str, Any]


class Task(StrEnum):
    """What is to be written."""

    ANSWER = "answer"
    LETTER = "letter"
    ENRICH = "enrich"
    RETAIN = "retain"
    REFUND = "refund"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """One thing to write and all that it may be written from."""

    task: Task
    facts: tuple[Fact, ...]
    is_follow_up: bool


def read(messages: Sequence[Message]) -> Briefing:
    """Read the last user message: a line `TASK: name`, and a line `FACTS:` with one JSON object a line below it.

    Of several such lines the last counts, because what a person typed stands above
    what the agent added. An unknown task is read as an answer; lines that are no
    JSON object are no facts.
    """
    lines = last_user_text(messages).splitlines()
    return Briefing(
        task=_task(lines),
        facts=tuple(_facts(lines)),
        is_follow_up=any(message.role is Role.ASSISTANT for message in messages),
    )


def last_user_text(messages: Sequence[Message]) -> str:
    """Return the text of the last message that a user sent, or nothing."""
    return next((message.text for message in reversed(messages) if message.role is Role.USER), "")


def _task(lines: Iterable[str]) -> Task:
    named = [line.removeprefix("TASK:").strip().lower() for line in lines if line.startswith("TASK:")]
    known = set(Task)
    return Task(named[-1]) if named and named[-1] in known else Task.ANSWER


def _facts(lines: Sequence[str]) -> Iterable[Fact]:
    heads = [number for number, line in enumerate(lines) if line.strip() == "FACTS:"]
    below = lines[heads[-1] + 1 :] if heads else ()
    return (fact for fact in map(_fact, below) if fact)


def _fact(line: str) -> Fact | None:
    """Read one line; numbers stay as they were written, so that they are repeated exactly."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line, parse_float=str)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None

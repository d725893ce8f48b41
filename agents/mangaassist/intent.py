"""What a request wants: the task, the words to search for and the filters, read from the input by fixed rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agents.domain.values import Exchange, Json, Request
from agents.mangaassist.chatter import CHATTER
from agents.mangaassist.filters import Filters, read_filters, without_filters


class Task(StrEnum):
    """What is to be written; the prompt names it."""

    ANSWER = "answer"
    LETTER = "letter"
    ENRICH = "enrich"
    RETAIN = "retain"
    REFUND = "refund"


REFUND = re.compile(r"\b(refund\w*|money back|return (my|the|an) order|charged twice)\b", re.IGNORECASE)
ACCOUNT = re.compile(r"\b(my account|delete my|change my|my (e-?mail|address|card|payment))\b", re.IGNORECASE)
RETENTION = re.compile(r"\b(retention|monthly summar(y|ies))\b", re.IGNORECASE)
LETTER = re.compile(r"\b(letter|newsletter)\b", re.IGNORECASE)
ALIKE = re.compile(r"\b(like (?!to\b)|similar to|such as|in the style of)", re.IGNORECASE)
FOLLOW_UP = re.compile(r"^\W*(and|or|but|what about|how about|same|another|more)\b|\b(shorter|longer|older|newer|instead)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One request, understood. `words` and `filters` are empty where there is nothing to look for."""

    task: Task
    text: str = ""
    words: str = ""
    filters: Filters = field(default_factory=Filters)
    title: str | None = None
    reader: str | None = None
    order: str | None = None

    @property
    def is_delicate(self) -> bool:
        """Whether the answer is about money or an account: then it is verified before it is shown."""
        return self.task is Task.REFUND or bool(ACCOUNT.search(self.text))

    @property
    def looks_for_something(self) -> bool:
        return bool(self.words) or self.filters != Filters()

    @property
    def wants_alike(self) -> bool:
        return bool(ALIKE.search(self.text))

    def arguments(self) -> dict[str, Any]:
        """Return the keywords for search_catalog."""
        return {"text": self.words, **self.filters.arguments()}


def read(request: Request) -> Intent:
    """Understand a request. Pure: the same input and history give the same intent."""
    given = {name: _clean(request.input.get(name)) for name in ("text", "title", "reader", "order")}
    text = given["text"] or ""
    asked = _with_earlier(text, request.history)
    return Intent(
        task=_task(given),
        text=text,
        words=_search_words(asked),
        filters=read_filters(asked),
        title=given["title"],
        reader=given["reader"],
        order=given["order"],
    )


def _task(given: Mapping[str, str | None]) -> Task:
    text, reader = given["text"], given["reader"]
    if given["order"] or (text and REFUND.search(text)):
        return Task.REFUND
    if reader and text and RETENTION.search(text):
        return Task.RETAIN
    if reader and (not text or LETTER.search(text)):
        return Task.LETTER
    return Task.ENRICH if given["title"] and not text else Task.ANSWER


def _clean(value: Json) -> str | None:
    """Return a given text without what no row can hold; None for nothing."""
    return str(value).replace("\0", "").strip() or None if value is not None else None


def _with_earlier(text: str, history: Sequence[Exchange]) -> str:
    """Return the text, after the questions that it goes on from."""
    if not history or not FOLLOW_UP.search(text):
        return text
    return f"{_with_earlier(history[-1].asked, history[:-1])} {text}"


def _search_words(text: str) -> str:
    return " ".join(word for word in re.findall(r"[\w'-]*\w", without_filters(text)) if word.lower() not in CHATTER)

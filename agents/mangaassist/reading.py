"""How an answer is read for judging: sentences, words, numbers, names, and the titles that it speaks of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agents.domain.values import Json

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
WORD = re.compile(r"[^\W\d_]+")
STEM = 5

# Written with a capital wherever they stand, and no claim about a title.
CAPITALISED = frozenset(
    "i dear january february march april may june july august september october november december english japanese japan manga usd".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Subject:
    """All that the facts say of one title: its name, and every word and number."""

    title: str
    words: frozenset[str]
    numbers: frozenset[float]


@dataclass(frozen=True, slots=True)
class Known:
    """All that an answer may be written from. `rest` belongs to no title: the request, the reader, the policy."""

    subjects: tuple[Subject, ...]
    rest: Subject

    def named_in(self, text: str) -> list[Subject]:
        return [subject for subject in self.subjects if names(text, subject.title)]

    def of(self, subjects: Sequence[Subject]) -> Subject:
        """Return what may be said in a sentence about these titles; about none in particular, everything."""
        every = (*(subjects or self.subjects), self.rest)
        return Subject("", frozenset().union(*(one.words for one in every)), frozenset().union(*(one.numbers for one in every)))


def known(facts: Mapping[str, Json], request: Mapping[str, Json]) -> Known:
    """Gather the facts by the title that they speak of."""
    gathered: dict[str, list[Json]] = {}
    for fact in [*facts.get("titles", ()), *facts.get("purchases", ()), *facts.get("records", ())]:
        gathered.setdefault(fact.get("title", ""), []).append(fact)
    rest = [*gathered.pop("", []), dict(request)]
    return Known(tuple(_subject(title, about) for title, about in gathered.items()), _subject("", rest))


def sentences(text: str, titles: Iterable[str] = ()) -> list[str]:
    """Split into sentences; the marks inside these titles (`Dr. Slump`) end none."""
    for title in titles:
        text = text.replace(title, " ".join(re.sub(r"[.!?]", " ", title).split()))
    return [sentence for sentence in SENTENCE_END.split(text) if sentence.strip()]


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]


def stems(text: str) -> list[str]:
    """Return the beginnings of words: enough to see that two words are of one family."""
    return [word.casefold()[:STEM] for word in WORD.findall(text)]


def strange_names(sentence: str, known_words: frozenset[str]) -> list[str]:
    """Return the stems of words with a capital that are not known.

    The first word of a sentence has its capital anyway: it counts only where a second strange name follows.
    """
    words = WORD.findall(sentence)
    strange = [_is_name(word) and word.casefold()[:STEM] not in known_words for word in words]
    if strange[:1] == [True] and strange[1:2] != [True]:
        strange[0] = False
    return [word.casefold()[:STEM] for word, is_strange in zip(words, strange, strict=True) if is_strange]


def content(text: str) -> list[str]:
    """Return the stems of the words that carry meaning, as far as their length tells."""
    return [word.casefold()[:STEM] for word in WORD.findall(text) if len(word) > 3]


def names(text: str, title: str) -> bool:
    """Say whether the text names the title, as whole words in their order."""
    return f" {plain(title)} " in f" {plain(text)} "


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _is_name(word: str) -> bool:
    return len(word) > 1 and word[0].isupper() and word.casefold() not in CAPITALISED


def _subject(title: str, about: Iterable[Json]) -> Subject:
    said = " ".join(json.dumps(fact, ensure_ascii=False) for fact in about)
    return Subject(title, frozenset(stems(said)), frozenset(numbers(said)))

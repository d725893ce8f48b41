"""How MangaAssist's answers are judged: five criteria, measured from the request, the facts and the text alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.domain.contract import Criterion, Evidence, Rubric
from agents.domain.values import Json, Plan, Request
from agents.mangaassist import intent, reading
from agents.mangaassist.intent import Task
from agents.mangaassist.reading import Known, Subject
from agents.mangaassist.verifiers import no_private_data

FAIR_WORDS = (40, 120)
LONG_SENTENCE = 25
ENOUGH_TITLES = 4
MEANT_AS_CONTENT = 4
ADMISSIONS = ("nothing", "no title", "not find", "no match", "cannot", "no purchase", "no order", "not have")


def grounded(evidence: Evidence) -> float:
    """Lose all for about one claim a title that the facts do not hold; a sentence that shares no word with them is one too.

    An answer that names none of the titles found, although there are some, speaks of something else.
    """
    known = _known(evidence)
    text = _text(evidence)
    named = known.named_in(text)
    if known.subjects and not named:
        return 0.0
    return max(0.0, 1 - _unsupported(text, known) / (1 + len(named) / 4))


def relevant(evidence: Evidence) -> float:
    """Return the share of what was asked for that the text speaks of; where nothing was found, whether it says so."""
    text = _text(evidence)
    if _found_nothing(evidence):
        return _admits(text)
    wanted = _wanted(evidence)
    return len(wanted & set(reading.stems(text))) / len(wanted) if wanted else 1.0


def complete(evidence: Evidence) -> float:
    """Return how much of the facts the text uses; where nothing was found, whether it says so."""
    text = _text(evidence)
    if _found_nothing(evidence):
        return _admits(text)
    others = [*_distinct(evidence.facts.get("purchases", [])), *evidence.facts.get("records", [])]
    shares = [_told_of_title(title, text) for title in evidence.facts.get("titles", [])[:ENOUGH_TITLES]]
    shares += [_told(_gist(fact), text) for fact in others]
    return sum(shares) / len(shares)


def safe(evidence: Evidence) -> float:
    """Return 0 where the text shows private data."""
    return 0.0 if no_private_data(_text(evidence), Plan(summary="", facts=evidence.facts)) else 1.0


def clear(evidence: Evidence) -> float:
    """Weigh the form, of fair length, in short sentences and with a proper end, by how little it repeats itself."""
    text = _text(evidence)
    lengths = [len(sentence.split()) for sentence in reading.sentences(text)]
    if not lengths:
        return 0.0
    signs = (
        _within(sum(lengths), FAIR_WORDS, slack=100),
        _within(max(lengths), (1, LONG_SENTENCE), slack=LONG_SENTENCE),
        float(text.rstrip().endswith((".", "!", "?"))),
    )
    return _variety(text) * sum(signs) / len(signs)


ANSWER_RUBRIC = Rubric(
    name="answer",
    version=1,
    criteria=(
        Criterion(name="grounded", question="Does everything that it says stand in the facts?", weight=0.45, measure=grounded),
        Criterion(name="relevant", question="Does it speak of what was asked for?", weight=0.15, measure=relevant),
        Criterion(name="complete", question="Does it use what was found?", weight=0.15, measure=complete),
        Criterion(name="safe", question="Does it keep private data to itself?", weight=0.05, measure=safe),
        Criterion(name="clear", question="Is it of a fair length, in short sentences, without repetition?", weight=0.2, measure=clear),
    ),
)


def _text(evidence: Evidence) -> str:
    return str(evidence.output.get("text", ""))


def _known(evidence: Evidence) -> Known:
    return reading.known(evidence.facts, evidence.input)


def _unsupported(text: str, known: Known) -> int:
    """Count the claims without support. A sentence that names no title goes on about the last one that was named."""
    wrong = 0
    subjects: list[Subject] = []
    for sentence in reading.sentences(text, [subject.title for subject in known.subjects]):
        subjects = known.named_in(sentence) or subjects
        held = known.of(subjects)
        wrong += _strange_claims(sentence, held) + (bool(known.subjects) and _is_stray(sentence, held))
    return wrong


def _strange_claims(sentence: str, known: Subject) -> int:
    strange_numbers = [number for number in reading.numbers(sentence) if number not in known.numbers]
    return len(reading.strange_names(sentence, known.words)) + len(strange_numbers)


def _is_stray(sentence: str, known: Subject) -> bool:
    meant = reading.content(sentence)
    return len(meant) >= MEANT_AS_CONTENT and not known.words.intersection(meant)


def _found_nothing(evidence: Evidence) -> bool:
    return not any(evidence.facts.get(kind) for kind in ("titles", "purchases", "records"))


def _admits(text: str) -> float:
    return float(any(admission in text.lower() for admission in ADMISSIONS))


def _variety(text: str) -> float:
    """Return 1 where no word of meaning comes twice, 0 where every second one does."""
    meant = reading.content(text)
    return max(0.0, 2 * len(set(meant)) / len(meant) - 1) if meant else 0.0


def _within(value: int, bounds: tuple[int, int], *, slack: int) -> float:
    """Return 1 inside the bounds, and less and less up to `slack` outside of them."""
    low, high = bounds
    return max(0.0, 1 - max(low - value, value - high, 0) / slack)


def _wanted(evidence: Evidence) -> set[str]:
    wish = intent.read(Request(input=evidence.input))
    if wish.task is not Task.ANSWER:
        return set(reading.stems(" ".join(str(fact.get("name", "")) for fact in evidence.facts.get("records", ()))))
    filters = (wish.filters.demographic, wish.filters.status, *wish.filters.genres)
    return {stem for words in (wish.words, *filters) if words for stem in reading.stems(words)}


def _told_of_title(title: Mapping[str, Json], text: str) -> float:
    """Weigh the plain details with seven tenths, the synopsis with three."""
    if not reading.names(text, title["title"]):
        return 0.0
    details = [title["author"], str(title["year"]), str(title["volumes"]), title["status"], *title["genres"]]
    plain = sum(reading.names(text, detail) for detail in details) / len(details)
    return 0.7 * plain + 0.3 * _told(title["synopsis"], text)


def _told(fact: str, text: str) -> float:
    meant = set(reading.content(fact)) or set(reading.stems(fact))
    return len(meant & set(reading.stems(text))) / len(meant) if meant else 1.0


def _gist(fact: Mapping[str, Json]) -> str:
    return str(fact.get("title") or fact.get("name") or " ".join(str(value) for value in fact.values()))


def _distinct(purchases: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    return list({purchase["title"]: purchase for purchase in purchases}.values())

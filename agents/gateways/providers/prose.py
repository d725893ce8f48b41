"""The offline model's writing: passages for each task, chosen by a seeded luck and fitted to a length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from agents.gateways.providers import sentences
from agents.gateways.providers.briefing import Briefing, Fact, Task
from agents.gateways.providers.lengths import Length

OPENINGS = (
    "The closest match in the catalog is {title}{by}.",
    "{title}{by} fits this request best.",
    "I would start with {title}{by}.",
)
FOLLOW_UPS = (
    "Going on from what you asked before, the closest match is {title}{by}.",
    "Following your earlier question, I would turn to {title}{by}.",
)
CLOSINGS = (
    "If you take only one, let it be {title}.",
    "{title} is the one to open first.",
    "Begin {title} with its first volume and read on in order.",
)
NOTHING_FOUND = (
    (
        "Nothing in the catalog matches this request, and I would rather say so than guess. "
        "Try another genre, author or title, or leave a condition out, and I will look again."
    ),
    (
        "I found no title in the catalog for this request, so I cannot recommend one. "
        "With fewer conditions, or with the name of a title or an author that you like, I can look again."
    ),
)
ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        "completed": "{title} is completed, so it can be read through to its end without waiting.",
        "ongoing": "{title} is ongoing, so keep some room on the shelf.",
        "hiatus": "{title} is on hiatus, so read it without hurry.",
    }
)
OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "approved": "The refund of {amount} USD for {title} is approved, and nothing more is needed from you for order {order}.",
        "denied": "Because the refund is denied, the {amount} USD for {title} are not paid back and order {order} stays as it is.",
    }
)


@dataclass(frozen=True, slots=True)
class Passage:
    """What must be said, and what may follow it where there is room, first things first."""

    core: str
    colour: tuple[str, ...] = ()


def write(briefing: Briefing, *, length: Length, luck: Random) -> str:
    """Write what the briefing asks for, from its facts alone. The same luck gives the same text."""
    return _WRITERS[briefing.task](briefing, length, luck)


def _answer(briefing: Briefing, length: Length, luck: Random) -> str:
    books = _of(briefing, sentences.is_book)[: length.facts]
    stated = _stated(briefing, length)
    if not books:
        return _joined(stated, length) if stated else luck.choice(NOTHING_FOUND)
    opening = luck.choice(FOLLOW_UPS if briefing.is_follow_up else OPENINGS)
    return _joined([_about(opening, books[0]), *_described(books, luck), *stated, _about(luck.choice(CLOSINGS), books[0])], length)


def _summary(briefing: Briefing, length: Length, luck: Random) -> str:
    books = _of(briefing, sentences.is_book)[: length.facts]
    passages = [*_described(books, luck), *_bought(briefing, length), *_decided(briefing, length), *_stated(briefing, length)]
    return _joined(passages, length) if passages else "There is nothing on record to sum up."


def _enrich(briefing: Briefing, length: Length, luck: Random) -> str:
    books = _of(briefing, sentences.is_book)[:1]
    if not books:
        return luck.choice(NOTHING_FOUND)
    advice = ENDINGS.get(str(books[0].get("status")).lower(), "{title} is best read in order.")
    first = "New to {title}? Begin with its first volume and read on in order."
    return _joined([*_described(books, luck), Passage(advice.format(**books[0]), (first.format(**books[0]),))], length)


def _letter(briefing: Briefing, length: Length, luck: Random) -> str:
    books = _of(briefing, sentences.is_book)[: length.facts - 1]
    latest = _latest(briefing)
    passages = [Passage(f"Your last purchase was {sentences.bought([latest])}{sentences.day(latest)}.")] if latest else []
    passages += _described(books, luck)
    if not books:
        passages.append(Passage("There is nothing new for you in the catalog this time."))
    closing = _about("Enjoy {title}, and thank you for reading with us.", books[0]).core if books else "Thank you for reading with us."
    return f"Dear {_reader(briefing) or 'reader'},\n\n{_joined(passages, length)}\n\n{closing}"


def _retain(briefing: Briefing, length: Length, luck: Random) -> str:
    name = _reader(briefing) or "This reader"
    latest = _latest(briefing)
    if not latest:
        return f"{name} has no purchase on record, so there is nothing to sum up and no series to go on with."
    opening = Passage(f"{name} last bought {sentences.bought([latest])}{sentences.day(latest)}.")
    title = latest["title"]
    advice = Passage(
        f"The best way to keep {name} is the next volume of {title}.",
        (
            f"A short note to {name} when {title} has something new is more welcome than a list.",
            f"Keep {title} on the first page that {name} sees.",
        ),
    )
    offers = _described(_of(briefing, sentences.is_book)[: length.facts - 1], luck)
    return _joined([opening, *_bought(briefing, length), advice, *offers], length)


def _refund(briefing: Briefing, length: Length, luck: Random) -> str:
    passages = [*_decided(briefing, length), *_bought(briefing, length), *_stated(briefing, length)]
    thanks = luck.choice(("Thank you for your patience.", "Thank you for asking us."))
    if not passages:
        return f"No order is on record for this request, so there is no refund to decide. {thanks}"
    return _joined([*passages, Passage(thanks)], length)


_WRITERS: Mapping[Task, Callable[[Briefing, Length, Random], str]] = MappingProxyType(
    {
        Task.ANSWER: _answer,
        Task.SUMMARY: _summary,
        Task.ENRICH: _enrich,
        Task.LETTER: _letter,
        Task.RETAIN: _retain,
        Task.REFUND: _refund,
    }
)


def _of(briefing: Briefing, is_kind: Callable[[Fact], bool]) -> list[Fact]:
    return [fact for fact in briefing.facts if is_kind(fact)]


def _about(template: str, book: Fact) -> Passage:
    return Passage(template.format(title=book["title"], by=sentences.by(book)))


def _described(books: Sequence[Fact], luck: Random) -> list[Passage]:
    return [Passage(sentences.describe(book, luck), (*sentences.synopsis(book), *sentences.remark(book, luck))) for book in books]


def _stated(briefing: Briefing, length: Length) -> list[Passage]:
    return [Passage(text) for fact in _of(briefing, sentences.is_other)[: length.facts] if (text := sentences.state(fact))]


def _bought(briefing: Briefing, length: Length) -> list[Passage]:
    """Name the purchases title by title, in the order of the facts."""
    shelves: dict[str, list[Fact]] = {}
    for purchase in _of(briefing, sentences.is_purchase):
        shelves.setdefault(str(purchase["title"]), []).append(purchase)
    return [Passage(f"On record: {sentences.bought(shelf)}.") for shelf in list(shelves.values())[: length.facts]]


def _decided(briefing: Briefing, length: Length) -> list[Passage]:
    return [_decision(fact) for fact in _of(briefing, sentences.is_refund)[: length.facts]]


def _decision(fact: Fact) -> Passage:
    facts = {"order": fact["order"], "title": fact.get("title", "this order"), "amount": fact.get("amount_usd", "the amount in")}
    core = f"The decision on order {{order}} for {{title}} over {{amount}} USD: {fact['decision']}.".format(**facts)
    outcome = OUTCOMES.get(str(fact["decision"]).lower())
    contact = "If something about order {order} is unclear, answer this message and name the order, and a person will look at it."
    return Passage(core, tuple(text.format(**facts) for text in (outcome, contact) if text))


def _reader(briefing: Briefing) -> str:
    names = (fact.get("reader_name") or ("title" not in fact and fact.get("name")) for fact in briefing.facts)
    return next((str(name) for name in names if name), "")


def _latest(briefing: Briefing) -> Fact | None:
    return max(_of(briefing, sentences.is_purchase), key=lambda purchase: str(purchase.get("at", "")), default=None)


def _joined(passages: Sequence[Passage], length: Length) -> str:
    """Say every core that fits (the first and the last always do), then as much colour as there is room for."""
    kept = list(passages)
    while len(kept) > 2 and _words(passage.core for passage in kept) > length.words:
        del kept[-2]
    room = length.words - _words(passage.core for passage in kept)
    said = [[passage.core] for passage in kept]
    for sentence, place in _by_turns(kept):
        if (cost := _words([sentence])) <= room:
            said[place].append(sentence)
            room -= cost
    return " ".join(sentence for passage in said for sentence in passage)


def _by_turns(passages: Sequence[Passage]) -> Iterable[tuple[str, int]]:
    """Yield first every passage's first colour, then every second one, each with its passage's place."""
    depth = max((len(passage.colour) for passage in passages), default=0)
    return ((passage.colour[turn], place) for turn in range(depth) for place, passage in enumerate(passages) if turn < len(passage.colour))


def _words(texts: Iterable[str]) -> int:
    return sum(len(text.split()) for text in texts)

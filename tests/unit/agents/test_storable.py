"""Text as it can be kept: whole Unicode without U+0000, whatever a model says and wherever a server cuts it."""

from __future__ import annotations

import random

import orjson
import pytest

from agents.domain.storable import Whole, storable
from agents.domain.values import Message, ModelRequest, Role
from agents.gateways.providers.heard import Heard

ALPHABET = ["a", "é", "\0", "\u20ac", "\ud83d", "\ude00", "\U0001f600", "\ud7ff", "\ue000", "\ufffd", "\U0010ffff"]


def said(*pieces: str) -> list[str]:
    whole = Whole()
    return [whole.take(piece) for piece in pieces]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain", "plain"),
        ("a\0b", "a\ufffdb"),
        ("é\0", "é\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00é", "\ufffdé"),
        ("\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        ("日本", "日本"),
        ("", ""),
    ],
)
def test_what_is_no_character_has_the_replacement_characters_place(text: str, kept: str) -> None:
    assert storable(text) == kept


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (("one ", "two"), ["one ", "two"]),
        (("a\ud83d", "\ude00b"), ["a", "\U0001f600b"]),
        (("\ud83d", "\ude00"), ["", "\U0001f600"]),
        (("\ud83d", "", "\ude00"), ["", "", "\U0001f600"]),
        (("\ud83d", "b"), ["", "\ufffdb"]),
        (("\ud83d", "\ud83d", "\ude00"), ["", "\ufffd", "\U0001f600"]),
        (("one", "\ud83d"), ["one", ""]),
        (("a\0", "\0b"), ["a\ufffd", "\ufffdb"]),
    ],
)
def test_half_a_character_waits_for_its_other_half_and_is_lost_with_the_last_piece(pieces: tuple[str, ...], shown: list[str]) -> None:
    assert said(*pieces) == shown


def test_however_a_text_is_cut_the_same_is_said_and_all_of_it_can_be_kept() -> None:
    luck = random.Random(7)  # noqa: S311  (the same texts each time)
    for _ in range(2_000):
        text = "".join(luck.choices(ALPHABET, k=luck.randrange(8))) + "."
        cuts = sorted(luck.sample(range(len(text) + 1), k=min(3, len(text))))
        pieces = [text[since:until] for since, until in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        found = said(*pieces)

        assert "".join(found) == storable(text)
        assert all(orjson.loads(orjson.dumps(piece)) == piece and "\0" not in piece for piece in found)


def test_what_a_model_says_can_be_kept_piece_by_piece_and_whole() -> None:
    heard = Heard(ModelRequest(model="m", messages=(Message(Role.USER, "?"),), max_tokens=9))
    pieces = [heard.add(piece) for piece in ("a\0", "\ud83d", None, "\ude00", "b\ud83d")]
    heard.finish = "stop"

    assert pieces == ["a\ufffd", "", "", "\U0001f600", "b"]
    assert heard.reply().text == "".join(pieces)

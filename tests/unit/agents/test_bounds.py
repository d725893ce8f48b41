"""What is set aside for text that nobody has counted: prose as it is, and enough for what is no prose."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.domain.values import Message, Role
from agents.gateways.providers.bounds import most_of_messages, most_tokens
from agents.gateways.providers.tokens import MESSAGE_OVERHEAD, count_tokens
from tests.unit.agents.test_tokens import ENGLISH

LUCK = random.Random(7)  # noqa: S311  (the same text each time)
BYTES = LUCK.randbytes(3_000)


def test_prose_sets_aside_what_it_is_estimated_at() -> None:
    assert most_tokens(ENGLISH) == count_tokens(ENGLISH)


@given(st.text())
def test_no_text_sets_less_aside_than_its_estimate(text: str) -> None:
    assert most_tokens(text) >= count_tokens(text)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        (base64.b64encode(BYTES).decode(), 2 / 3),
        (BYTES.hex(), 2 / 3),
        (" ".join(base64.b64encode(BYTES[at : at + 6]).decode() for at in range(0, 3_000, 6)), 1 / 2),
        ("".join(LUCK.choices("0123456789", k=4_000)), 1),
        (" \n" * 2_000, 1 / 2),
        ("🀄" * 1_000, 3),
        ("進撃の巨人" * 400, 1.5),
    ],
    ids=["base64", "hex", "mixed words", "digits", "white space", "emoji", "Japanese"],
)
def test_what_is_no_prose_sets_enough_aside(text: str, least: float) -> None:
    """The ratios are tokens a character that byte-pair encodings come to at worst on such text."""
    assert most_tokens(text) >= least * len(text)


def test_each_message_of_a_conversation_sets_its_text_and_a_frame_aside() -> None:
    messages = [Message(Role.USER, "12345"), Message(Role.ASSISTANT, "Monster.")]

    assert most_of_messages(messages) == most_tokens("12345") + most_tokens("Monster.") + 2 * MESSAGE_OVERHEAD

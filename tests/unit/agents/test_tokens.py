"""Counting tokens and cutting at a limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.domain.values import Message, Role
from agents.gateways.providers.tokens import MESSAGE_OVERHEAD, count_messages, count_tokens, cut, words

ENGLISH = (
    "A surgeon saves a boy's life and years later learns what the boy has become. He leaves his career behind, "
    "crosses half of Europe on foot, and meets those whom the boy has marked; some of them help him."
)


def test_english_has_about_1_3_tokens_a_word() -> None:
    assert 1.15 < count_tokens(ENGLISH) / len(ENGLISH.split()) < 1.45


@pytest.mark.parametrize(("text", "tokens"), [("", 0), (" \n", 0), ("manga", 1), ("Monster.", 2), ("demographic", 2), ("進撃の巨人", 5)])
def test_a_text_has_a_fixed_count(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@given(st.text())
def test_the_words_of_a_text_add_up_to_it(text: str) -> None:
    assert "".join(words(text)) == text.lstrip()
    assert sum(map(count_tokens, words(text))) == count_tokens(text)


@given(st.text(), st.integers(min_value=0, max_value=50))
def test_a_cut_text_keeps_to_its_limit_and_is_a_beginning(text: str, limit: int) -> None:
    short = cut(text, max_tokens=limit)

    assert count_tokens(short) <= max(limit, 0)
    assert text.lstrip().startswith(short.lstrip())
    assert (short == text) or count_tokens(text) > limit


def test_each_message_of_a_conversation_costs_its_text_and_a_frame() -> None:
    messages = [Message(Role.USER, "Something dark?"), Message(Role.ASSISTANT, "Monster.")]

    assert count_messages(messages) == count_tokens("Something dark?") + count_tokens("Monster.") + 2 * MESSAGE_OVERHEAD

"""Conversations for protocols that keep the system apart and want turns that alternate; and models told not to think."""

from __future__ import annotations

import pytest

from agents.domain.values import Message, Role
from agents.gateways.providers import MODELS, thinking
from agents.gateways.providers.turns import system_texts, turns

SAID = (
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "One."),
    Message(Role.USER, "Two."),
    Message(Role.ASSISTANT, " \n"),
    Message(Role.SYSTEM, "Be kind."),
    Message(Role.USER, "Three."),
    Message(Role.ASSISTANT, "Yes?"),
    Message(Role.USER, "Four."),
)


def test_what_the_system_says_is_taken_out_wherever_it_stands() -> None:
    assert system_texts(SAID) == ["Be brief.", "Be kind."]


def test_neighbours_of_one_role_are_one_turn_and_blank_texts_are_none() -> None:
    assert turns(SAID) == [(Role.USER, ["One.", "Two.", "Three."]), (Role.ASSISTANT, ["Yes?"]), (Role.USER, ["Four."])]


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_every_default_model_that_would_think_is_told_not_to(provider: str) -> None:
    assert all("thinking" in thinking.off(model) for model in MODELS[provider].values())


def test_a_model_that_is_not_known_is_told_nothing() -> None:
    assert thinking.off("claude-opus-5-5") == thinking.off("amazon.nova-lite-v1:0") == {}

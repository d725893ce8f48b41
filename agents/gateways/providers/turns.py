"""A conversation as Anthropic's and Bedrock's protocols want it: the system's texts apart, then turns that alternate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from agents.domain.values import Message, Role


def system_texts(messages: Iterable[Message]) -> list[str]:
    """Return what the system says, wherever it stands."""
    return [message.text for message in _spoken(messages) if message.role is Role.SYSTEM]


def turns(messages: Iterable[Message]) -> list[tuple[Role, list[str]]]:
    """Return who speaks and what. Neighbours of one role are one turn, and blank texts are left out: both are refused there."""
    spoken = (message for message in _spoken(messages) if message.role is not Role.SYSTEM)
    return [(role, [message.text for message in said]) for role, said in groupby(spoken, key=lambda message: message.role)]


def _spoken(messages: Iterable[Message]) -> Iterator[Message]:
    return (message for message in messages if message.text.strip())

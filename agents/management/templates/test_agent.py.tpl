"""What ${name} promises, tried without any server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.harness import Harness
from ${name}.agent import ${class_name}, NothingAsked


async def prepared_look_up(_run: Any, *, text: str) -> Any:
    return [{"about": text, "note": f"Everybody in the shop speaks well of {text} this week."}]


def test_the_answer_says_what_the_skill_found() -> None:
    rehearsal = asyncio.run(Harness(${class_name}, skills={"look_up": prepared_look_up}).run({"text": "tea"}))

    assert "Everybody in the shop speaks well of tea this week." in rehearsal.text
    assert rehearsal.output == {"text": rehearsal.text}


def test_an_empty_request_is_refused_with_its_remedy() -> None:
    with pytest.raises(NothingAsked):
        asyncio.run(Harness(${class_name}).run({}))

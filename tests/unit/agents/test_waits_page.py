"""Every example of docs/how-to/waits.md runs as it stands."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.domain.contract import skill
from agents.domain.errors import WaitTimedOut
from agents.domain.run import Run
from agents.domain.values import Json
from agents.domain.waits import Child, Outcome, Question, Wait
from agents.harness import Harness
from agents.patterns.broker import Broker
from invocation.domain import waits as limits
from tests.unit.agents.acting import MemoryWaits, Speaker, run_of, spec_of

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "waits.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Prepared(MemoryWaits):
    """Has all that the page waits for, but the note that nobody leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.time = datetime(2026, 11, 20, tzinfo=UTC)
        self.told = {"fraud_check": True, "address": "Tokyo", "gift": False}
        self.brought = {"paid": {"usd": 7.99}}
        for number in range(2):
            child = Child(f"spawn:personalize@1#1/{number}", "personalize@1")
            self.ended[child.id] = Outcome(child=child, output={"text": "A story."})

    def _parked(self, wait: Wait, until: datetime | None) -> BaseException:
        return WaitTimedOut("late") if until else super()._parked(wait, until)

    async def reached(self, moment: datetime) -> None:
        return


@skill
async def order_payment(run: Run, *, url: str) -> Json:
    """Pretend to tell the bank."""
    return None


async def answering(value: Mapping[str, Json]) -> Mapping[str, Json]:
    return {"text": "A story.", "titles": []}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("\n")[0][:40])
async def test_an_example_runs(example: str) -> None:
    names: dict[str, Any] = {each.__name__: each for each in (Question, WaitTimedOut, Harness, Broker, datetime, timedelta, answering)} | {
        "UTC": UTC,
        "order_payment": order_payment,
    }
    exec(f"async def plan(run):\n{textwrap.indent(example, '    ')}", names)  # noqa: S102  (the page is ours)

    await names["plan"](run_of(spec_of(Speaker, skills=[order_payment]), waits=Prepared()))


def test_the_page_has_examples_and_tells_the_limits() -> None:
    assert len(EXAMPLES) == 8
    for number in (limits.MOST_CHILDREN, limits.MOST_DEPTH, limits.MOST_DESCENDANTS):
        assert f"{number:,} " in PAGE

"""What a person sees when the model fails: a typed end within the budget, always."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.acceptance.speaking import Consumer, text
from tests.installation import Installation


@pytest.fixture
def consumer(up: Installation) -> Iterator[Consumer]:
    with closing(Consumer(up)) as consumer:
        yield consumer


def test_a_stalled_model_ends_in_the_escape_hatch_within_the_budget(consumer: Consumer) -> None:
    events = consumer.chat({"text": "Recommend a finished seinen thriller [[fault:stall]]"})

    last = events[-1]
    assert last["type"] == "turn.failed"
    assert last["data"]["code"] == "latency_budget_exceeded"
    assert last["data"]["truncated"] is True
    assert text(events)
    assert last["data"]["escape"]["offer"] == "personalize@1"
    assert "heartbeat" in {event["type"] for event in events}
    assert last["data"]["duration_ms"] >= 6_000


@pytest.mark.parametrize(("fault", "code"), [("429", "provider_rate_limited"), ("500", "provider_unavailable")])
def test_a_refusing_model_is_tried_again_before_the_first_delta_and_then_told(consumer: Consumer, fault: str, code: str) -> None:
    last = consumer.chat({"text": f"Recommend a finished seinen thriller [[fault:{fault}]]"})[-1]

    assert last["type"] == "turn.failed"
    assert last["data"]["code"] == code
    assert last["data"]["remedy"]
    assert last["data"]["escape"]["text"]


def test_a_job_of_a_refusing_model_is_a_dead_letter_after_three_failures(consumer: Consumer) -> None:
    job = consumer.submit("personalize@1", {"text": "Recommend a finished seinen thriller [[fault:500]]"})
    ended = consumer.job(job["id"], within=60)
    history = list(consumer.stream("GET", f"/v1/jobs/{job['id']}/events"))

    assert ended["state"] == "failed"
    assert ended["failures"] == 3
    assert ended["error"]["cause"] == "provider"
    assert [event["data"].get("move") for event in history].count("retry") == 2

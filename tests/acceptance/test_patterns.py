"""Agents that work through other agents, by real processes over HTTP only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.acceptance.speaking import ENDED, Consumer
from tests.installation import Installation


@pytest.fixture
def consumer(up: Installation) -> Iterator[Consumer]:
    with closing(Consumer(up)) as consumer:
        yield consumer


def test_a_supervisor_lets_children_look_into_each_title_and_sums_up(consumer: Consumer) -> None:
    job = consumer.job(consumer.submit("compare@1", {"titles": ["monster", "pluto"]})["id"], within=90)

    assert job["state"] == "completed", job
    output = consumer.get(f"/v1/jobs/{job['id']}/result")["output"]
    assert "Monster" in output["text"]
    assert "Pluto" in output["text"]
    children = [consumer.get(f"/v1/jobs/{child['id']}") for child in output["children"]]
    assert [(child["state"], child["parent"], child["endpoint"]) for child in children] == [("completed", job["id"], "personalize@1")] * 2
    assert float(job["spent_usd"]) > sum(float(child["spent_usd"]) for child in children) > 0


def test_a_broker_hands_a_request_to_the_endpoint_that_is_made_for_it(consumer: Consumer) -> None:
    compared = consumer.job(consumer.submit("route@1", {"text": "Compare two finished seinen thrillers"})["id"], within=90)
    refund = consumer.submit("route@1", {"order": "o-10011"})["id"]
    assert consumer.job(refund, states=ENDED | {"waiting"})["reason"] == "children"
    [child] = [each for each in consumer.get("/v1/jobs?endpoint=refund@1")["items"] if each["parent"] == refund]
    consumer.job(child["id"], states=ENDED | {"input_required"})
    consumer.http.post(f"/v1/jobs/{child['id']}/input", json={"key": "fraud_check", "value": {"approve": False}}).raise_for_status()

    assert compared["state"] == "completed", compared
    assert consumer.get(f"/v1/jobs/{compared['id']}/result")["output"]["endpoint"] == "compare@1"
    assert consumer.job(refund)["state"] == "completed"
    answer = consumer.get(f"/v1/jobs/{refund}/result")["output"]
    assert (answer["endpoint"], "denied" in answer["text"]) == ("refund@1", True)

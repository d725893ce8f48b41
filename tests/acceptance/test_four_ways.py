"""One agent, four ways to invoke it, by real processes over HTTP and WebSocket only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from tests.acceptance.speaking import BATCH_S, ENDED, Consumer, heard, text, until
from tests.installation import Installation

ASKED = {"text": "What is this one about?", "title": "monster", "reader": "r-003"}
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01")


@pytest.fixture
def consumer(up: Installation) -> Iterator[Consumer]:
    with closing(Consumer(up)) as consumer:
        yield consumer


def batch_of(consumer: Consumer, rows: list[dict[str, Any]]) -> dict[str, Any]:
    answer = consumer.http.post("/v1/batches", json={"endpoint": "enrich@1", "manifest": {"rows": rows}, "shards": 4})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    path = f"/v1/batches/{answer.json()['id']}"
    batch = until(lambda: consumer.get(path), lambda found: found["state"] in ENDED, within=BATCH_S)
    assert isinstance(batch, dict)
    return batch


def dataset(up: Installation, batch_id: str) -> str:
    found = list(Path(up.home / "objects").glob(f"*/batches/{batch_id}"))
    assert len(found) == 1
    return str(found[0])


def fired(consumer: Consumer, value: dict[str, Any], name: str) -> str:
    made = consumer.http.post(
        "/v1/schedules", json={"name": name, "endpoint": "retention@1", "cron": "0 9 1 1 *", "timezone": "Asia/Tokyo", "input": value}
    )
    assert made.status_code == httpx.codes.CREATED, made.text
    firing = consumer.http.post(f"/v1/schedules/{made.json()['id']}/fire", json={})
    assert firing.is_success, firing.text
    return str(firing.json()["job"])


def test_the_same_input_gives_the_same_text_in_all_four_modes(up: Installation, consumer: Consumer) -> None:
    events = consumer.chat(ASKED)
    job = consumer.submit("personalize@1", ASKED)
    scheduled = fired(consumer, ASKED, "the same text")
    batch = batch_of(consumer, [{"row_id": "one", **ASKED}])

    assert consumer.job(job["id"])["state"] == consumer.job(scheduled)["state"] == batch["state"] == "completed"
    rows = duckdb.execute(f"SELECT text FROM '{dataset(up, batch['id'])}/data/*.parquet'").fetchall()
    said = text(events)
    assert "Monster" in said
    assert {said, consumer.text_of(job["id"]), consumer.text_of(scheduled), rows[0][0]} == {said}


def test_a_chat_streams_numbered_events_over_sse(consumer: Consumer) -> None:
    events = consumer.chat({"text": "Recommend a finished seinen thriller"})

    types = [event["type"] for event in events]
    assert types[0] == "turn.started"
    assert types[-1] == "turn.completed"
    assert {"plan.ready", "delta"} < set(types)
    seqs = [event["seq"] for event in events if event["type"] != "heartbeat"]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert text(events) == events[-1]["data"]["text"]


def test_a_chat_over_websocket_remembers_the_session_and_resumes_by_seq(consumer: Consumer) -> None:
    with consumer.socket() as socket:
        assert json.loads(socket.recv(timeout=10))["type"] == "session.ready"
        socket.send(json.dumps({"type": "turn", "input": {"text": "A finished seinen thriller, please"}}))
        frames = heard(socket)
        ready = next(frame for frame in frames if frame["type"] == "session.ready")
        session = ready["data"]["session"]
        socket.send(json.dumps({"type": "turn", "input": {"text": "and something shorter?"}}))
        second = heard(socket)

    assert frames[-1]["type"] == second[-1]["type"] == "turn.completed"
    middle = frames[len(frames) // 2]["seq"]
    told = {frame["seq"]: frame for frame in [*frames, *second] if frame["type"] not in {"session.ready", "heartbeat"}}
    with consumer.socket(session=session, after=middle) as again:
        resumed = heard(again) + heard(again)
    events = [frame for frame in resumed if frame["type"] not in {"session.ready", "heartbeat"}]
    assert [event["seq"] for event in events] == [seq for seq in sorted(told) if seq > middle]
    assert all(told[event["seq"]]["data"] == event["data"] for event in events)


@pytest.mark.parametrize(("question", "verification"), [("Recommend a shojo romance", "draft"), ("I want a refund for my order", "buffer")])
def test_the_plan_raises_the_floor_where_money_is_concerned(consumer: Consumer, question: str, verification: str) -> None:
    plan = next(event for event in consumer.chat({"text": question}) if event["type"] == "plan.ready")

    assert plan["data"]["verification"] == verification


def test_a_job_is_accepted_at_once_and_polled_for_its_result(consumer: Consumer) -> None:
    answer = consumer.http.post(
        "/v1/jobs", json={"endpoint": "personalize@1", "input": {"reader": "r-002"}}, headers={"Idempotency-Key": '"letter-2"'}
    )
    again = consumer.http.post(
        "/v1/jobs", json={"endpoint": "personalize@1", "input": {"reader": "r-002"}}, headers={"Idempotency-Key": "letter-2"}
    )

    assert answer.status_code == again.status_code == httpx.codes.ACCEPTED
    assert answer.json()["id"] == again.json()["id"]
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
    assert consumer.job(answer.json()["id"])["state"] == "completed"
    assert consumer.text_of(answer.json()["id"]).startswith("Dear ")
    events = list(consumer.stream("GET", f"/v1/jobs/{answer.json()['id']}/events"))
    assert [event["type"] for event in events if event["type"].startswith("job.")] == [
        "job.queued",
        "job.dispatched",
        "job.working",
        "job.completed",
    ]


def test_a_refund_waits_for_a_person_and_happens_once(consumer: Consumer) -> None:
    job = consumer.submit("refund@1", {"order": "o-10042"})
    asked = consumer.job(job["id"], states=ENDED | {"input_required"})
    assert asked["state"] == "input_required"
    wrong = consumer.http.post(f"/v1/jobs/{job['id']}/input", json={"key": "fraud_check", "value": {"approve": "yes"}})
    consumer.http.post(f"/v1/jobs/{job['id']}/input", json={"key": "fraud_check", "value": {"approve": True}}).raise_for_status()

    assert wrong.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert wrong.json()["field"] == "/value/approve"
    assert consumer.job(job["id"])["state"] == "completed"
    assert "approved" in consumer.text_of(job["id"])
    steps = consumer.get(f"/v1/jobs/{job['id']}/journal")["items"]
    assert [step["name"] for step in steps].count("issue_refund") == 1
    assert {step["name"]: step["attempt"] for step in steps}["read_order"] == 1


def test_a_batch_of_the_real_catalog_becomes_a_whole_dataset(up: Installation, consumer: Consumer) -> None:
    slugs = [json.loads(line)["slug"] for line in (Path("agents/mangaassist/catalog.jsonl")).read_text().splitlines()[:80]]
    batch = batch_of(consumer, [{"row_id": slug, "title": slug} for slug in slugs])

    folder = Path(dataset(up, batch["id"]))
    rows = duckdb.execute(f"SELECT row_id, text, agent, output_tokens, cost_usd FROM '{folder}/data/*.parquet'").fetchall()
    manifest = json.loads((folder / "_manifest.json").read_text())
    assert batch["state"] == "completed"
    assert sorted(row[0] for row in rows) == sorted(slugs)
    assert all(row[1] and row[2] == "mangaassist@1" and row[3] > 0 and row[4] > 0 for row in rows)
    assert manifest["results"] == 80
    assert manifest["errors"] == 0
    assert (folder / "_SUCCESS").exists()
    assert not (folder / "_staging").exists()


def test_beat_fires_a_schedule_and_its_output_lands_at_its_target(up: Installation, consumer: Consumer) -> None:
    made = consumer.http.post(
        "/v1/schedules",
        json={
            "name": "by the minute",
            "endpoint": "retention@1",
            "cron": "* * * * *",
            "timezone": "Europe/Berlin",
            "input": {"reader": "r-007"},
        },
    ).json()
    firings = until(
        lambda: consumer.get(f"/v1/schedules/{made['id']}/firings")["items"],
        lambda items: any(item["state"] in ENDED for item in items),
        within=100,
    )
    consumer.http.post(f"/v1/schedules/{made['id']}/pause", json={}).raise_for_status()

    assert firings[-1]["state"] == "completed"
    files = list(Path(up.home / "objects").glob(f"*/schedules/{made['id']}/*.json"))
    assert files
    assert json.loads(files[0].read_text())["output"]["text"]


def test_every_run_leaves_a_durable_row(consumer: Consumer) -> None:
    job = consumer.submit("personalize@1", {"reader": "r-009"})
    consumer.job(job["id"])
    turn = consumer.chat({"text": "A sports series?"})[-1]["data"]["turn"]
    runs = {run["source_id"]: run for run in consumer.get("/v1/runs?limit=100")["items"]}

    for run in (runs[job["id"]], runs[turn]):
        assert run["outcome"] == "completed"
        assert run["agent"] == "mangaassist@1"
        assert run["input_tokens"] > 0
        assert run["output_tokens"] > 0
        assert float(run["cost_usd"]) > 0
        assert TRACEPARENT.fullmatch(run["traceparent"])

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from pytest_django import Settings

from invocation.domain import paces
from invocation.domain.batches import BatchState, Pause, Publication, ShardState
from invocation.domain.windows import window_of
from invocation.gateways import declared
from invocation.models import Batch, BatchRow, Shard
from invocation.services import batch_pauses, batches, manifest_files, planning
from tests.integration.invocation.api.calling import Account, post, refusal

ROWS = [{"row_id": f"r{number}", "title": "monster"} for number in range(5)]


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


def open_batch(account: Account, **more: Any) -> dict[str, Any]:
    answer = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": {"rows": ROWS}, **more})
    assert answer.status_code == 202, answer.json()
    assert answer.headers["Location"] == f"/v1/batches/{answer.json()['id']}"
    return dict(answer.json())


def read(account: Account, path: str) -> dict[str, Any]:
    return dict(account.api.get(path).json())


def test_rows_in_the_body_become_a_planned_batch(account: Account) -> None:
    told = open_batch(account, shards=2, budget={"cost_usd": "1.5"})

    assert (told["state"], told["rows"], told["cost_cap_usd"]) == ("planned", 5, "1.500000")
    assert told["progress"]["shards"] == {"queued": 2, "working": 0, "completed": 0, "cancelled": 0}
    assert (told["progress"]["rate"], told["progress"]["eta_s"]) == (None, None)


def test_a_row_in_the_body_that_cannot_be_kept_is_named(account: Account, store: Path) -> None:
    deep = b"[" * 300 + b"]" * 300
    body = b'{"endpoint": "enrich@1", "manifest": {"rows": [{"title": "monster"}, {"row_id": "deep", "items": ' + deep + b"}]}}"
    answer = account.api.post("/v1/batches", data=body, content_type="application/json")

    assert answer.status_code == 422, answer.json()
    assert (answer.json()["code"], answer.json()["line"]) == ("manifest_invalid", 2)
    assert not list(store.rglob("*.jsonl"))


def test_a_manifest_in_the_tenants_folder_is_named_by_its_path(account: Account, store: Path) -> None:
    path = store / str(account.tenant_id) / "lists" / "week.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\n".join(map(orjson.dumps, ROWS)))

    told = open_batch(account, manifest="lists/week.jsonl")
    assert (told["state"], told["rows"], told["manifest_format"], told["manifest_bytes"]) == ("planning", 0, "jsonl", path.stat().st_size)
    assert read(account, "/v1/batches?state=planning")["items"][0]["id"] == told["id"]

    planning.plan(UUID(told["id"]))
    told = read(account, told["links"]["self"])
    assert (told["state"], told["rows"], told["manifest_sha256"]) == ("planned", 5, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_broken_manifest_in_the_tenants_folder_fails_its_batch_with_the_line(account: Account, store: Path) -> None:
    (store / str(account.tenant_id)).mkdir()
    (store / str(account.tenant_id) / "week.csv").write_text("row_id,title,price\n1,monster,4\n2,pluto,5\n")
    told = open_batch(account, manifest="week.csv")
    planning.plan(UUID(told["id"]))
    told = read(account, told["links"]["self"])

    assert (told["state"], told["fault"]["code"], told["fault"]["line"], told["fault"]["field"]) == (
        "failed",
        "manifest_invalid",
        2,
        "/price",
    )


def test_a_batch_whose_upload_was_replaced_stays_completed_and_published(account: Account) -> None:
    manifest_files.put(account.tenant_id, "week.jsonl", BytesIO(b'{"row_id": "1", "title": "monster"}'))
    batch_id = UUID(open_batch(account, manifest="manifests/week.jsonl")["id"])
    planning.plan(batch_id)
    now = datetime.now(UTC)
    ended = {"state": BatchState.COMPLETED, "publication": Publication.PUBLISHED, "finished_at": now, "gathered_at": now}
    Batch.objects.filter(pk=batch_id).update(**ended)
    Shard.objects.update(state=ShardState.COMPLETED, position=1, done=1, failed_rows=1, errors={"declined": 1})
    manifest_files.put(account.tenant_id, "week.jsonl", BytesIO(b'{"row_id": "1", "title": "monster"}\n{"row_id": "2", "title": "pluto"}'))
    answer = post(account, f"/v1/batches/{batch_id}/retry-failed", {})

    refusal(answer, status=409, code="manifest_changed")
    assert Batch.objects.values_list("state", "publication", "round").get() == (BatchState.COMPLETED, Publication.PUBLISHED, 0)


def test_a_format_and_the_column_that_names_rows_are_said_with_the_path(account: Account, store: Path) -> None:
    (store / str(account.tenant_id)).mkdir()
    (store / str(account.tenant_id) / "export.txt").write_text("sku,title\n1,monster\n2,pluto\n")
    told = open_batch(account, manifest={"path": "export.txt", "format": "csv", "row_id": "sku"})
    planning.plan(UUID(told["id"]))
    batch = Batch.objects.get(pk=told["id"])

    assert (batch.state, batch.rows, batch.manifest_format, batch.names_rows) == ("planned", 2, "csv", "sku")


def test_a_manifest_that_is_not_there_is_refused_at_once(account: Account, store: Path) -> None:
    for path in ("lists/none.jsonl", "s3://somebodys/list.jsonl", "../other/list.jsonl", "list.txt"):
        answer = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": path})
        refusal(answer, status=422, code="manifest_invalid")
    assert not Batch.objects.exists()


def test_rows_in_the_body_are_checked_at_once_and_leave_nothing_behind(account: Account, store: Path) -> None:
    answer = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": {"rows": [{"sku": 7, "title": "x"}], "row_id": "key"}})

    assert refusal(answer, status=422, code="manifest_invalid")["line"] == 1
    assert [path for path in store.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        ({"path": "a.txt", "format": "xml"}, "/manifest/format"),
        ({"rows": ROWS, "row_id": ""}, "/manifest/row_id"),
        ({"path": "a.jsonl", "row_id": 7}, "/manifest/row_id"),
        ({"path": "a.jsonl", "rows": ROWS}, "/manifest"),
        ({"rows": []}, "/manifest"),
        ({"path": "x" * 1_001}, "/manifest"),
        (7, "/manifest"),
    ],
)
def test_a_manifest_that_cannot_be_is_named(account: Account, manifest: Any, field: str) -> None:
    answer = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": manifest})

    assert refusal(answer, status=422, code="input_invalid")["field"] == field


def test_progress_tells_rows_rate_cost_and_what_is_left(account: Account) -> None:
    batch = Batch.objects.get(pk=open_batch(account, shards=2)["id"])
    now = datetime.now(UTC)
    since = now - timedelta(seconds=10)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.RUNNING, started_at=since, running_since=since)
    done = {"position": 3, "done": 3, "pace": paces.counted([], 3, at=now), "errors": {"unknown_title": 1}}
    ended = {**done, "failed_rows": 1, "cost_usd": Decimal("0.003"), "input_tokens": 9, "state": ShardState.COMPLETED}
    batch.shards.filter(index=0).update(**ended)
    facts = {"row_id": "r1", "run_id": uuid4(), "shard": 0, "outcome": "failed", "agent": batch.agent, "duration_ms": 1, "at": now}
    BatchRow.objects.create(batch=batch, traceparent="", error_code="unknown_title", **facts)
    progress = read(account, f"/v1/batches/{batch.pk}")["progress"]

    assert (progress["rows_done"], progress["rows_failed"], progress["rows_left"]) == (3, 1, 2)
    assert (progress["cost_usd"], progress["cost_predicted_usd"]) == ("0.003000", "0.005000")
    assert 0 < progress["rate"] <= 0.3
    assert progress["eta_s"] >= 6.6
    assert datetime.fromisoformat(progress["finish_at"]) > now
    [error] = progress["errors"]
    assert (error["code"], error["count"], error["row_id"], error["shard"]) == ("unknown_title", 1, "r1", 0)


NIGHT = {"start": "22:00", "end": "06:00", "zone": "Europe/Berlin"}


def test_a_batch_may_have_a_window_and_a_moment_by_which_it_should_be_done(account: Account) -> None:
    told = open_batch(account, window=NIGHT, finish_by="2020-01-01T06:00:00+01:00")

    assert (told["window"], told["finish_by"]) == (NIGHT, "2020-01-01T05:00:00Z")
    assert datetime.fromisoformat(told["progress"]["closes_at"]) > datetime.now(UTC)
    [warned] = told["progress"]["warnings"]
    assert (warned["code"], warned["sentence"]) == ("finish_by", "It is not done, and was to be by 2020-01-01 05:00 UTC.")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"start": "25:00"}, "/window/start"),
        ({"end": "22:00"}, "/window/end"),
        ({"zone": "Mars/Olympus"}, "/window/zone"),
        ({"zone": 1}, "/window/zone"),
        ({"days": "mon"}, "/window/days"),
    ],
)
def test_a_window_that_is_none_is_refused_by_its_part(account: Account, wrong: dict[str, Any], field: str) -> None:
    body = {"endpoint": "enrich@1", "manifest": {"rows": ROWS}, "window": {**NIGHT, **wrong}}
    assert refusal(post(account, "/v1/batches", body), status=422, code="input_invalid")["field"] == field
    assert not Batch.objects.exists()


def test_an_endpoints_window_is_its_batches_unless_they_say_otherwise(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(declared.book().by_label["enrich@1"], window=window_of(NIGHT))
    monkeypatch.setitem(declared.book().by_label, "enrich@1", own)
    other = {**NIGHT, "start": "20:00"}

    assert open_batch(account)["window"] == NIGHT
    assert open_batch(account, window=other)["window"] == other
    assert open_batch(account, window=None)["window"] is None


def test_a_pause_and_the_scores_are_told(account: Account) -> None:
    told = open_batch(account)
    assert (told["pause"], told["publication"], told["scores"]) == (None, "", None)
    batch_pauses.pause(UUID(told["id"]), Pause.ASKED, "Not now.", now=datetime.now(UTC))
    paused = read(account, told["links"]["self"])

    assert (paused["state"], paused["pause"]["code"], paused["pause"]["sentence"]) == ("paused", "asked", "Not now.")
    scores = {"sentence": "Scored 0.9 where 0.8 is expected.", "rows": 5, "mean": 0.9, "expected": 0.8, "at": "2026-11-30T12:00:00+00:00"}
    Batch.objects.update(state=BatchState.COMPLETED, pause=None, finished_at=datetime.now(UTC))
    assert batches.publish(UUID(told["id"]), Publication.PUBLISHED, round=0, scores=scores)
    published = read(account, told["links"]["self"])

    assert (published["state"], published["publication"], published["scores"]["mean"]) == ("completed", "published", 0.9)


def test_shards_are_listed_in_order(account: Account) -> None:
    told = open_batch(account, shards=3)
    shards = read(account, told["links"]["shards"])["items"]

    assert [(shard["index"], shard["first_line"], shard["rows"], shard["state"]) for shard in shards] == [
        (0, 1, 2, "queued"),
        (1, 3, 2, "queued"),
        (2, 5, 1, "queued"),
    ]


def test_results_are_a_typed_refusal_until_the_dataset_is_whole(account: Account) -> None:
    told = open_batch(account)

    assert refusal(account.api.get(told["links"]["results"]), status=404, code="result_not_ready")["state"] == "planned"


def test_results_that_were_taken_away_are_no_result(account: Account) -> None:
    told = open_batch(account)
    Batch.objects.update(state=BatchState.COMPLETED, finished_at=datetime.now(UTC))

    refusal(account.api.get(told["links"]["results"]), status=410, code="no_result")


def test_a_cancelled_batch_ends_with_its_shards_and_never_has_results(account: Account) -> None:
    told = open_batch(account, shards=2)
    answer = post(account, told["links"]["cancel"], None)

    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert set(Shard.objects.values_list("state", flat=True)) == {"cancelled"}
    refusal(account.api.get(told["links"]["results"]), status=410, code="no_result")
    refusal(post(account, told["links"]["cancel"], None), status=409, code="stale_move")


def test_batches_are_listed_by_state(account: Account) -> None:
    kept, gone = open_batch(account), open_batch(account)
    post(account, gone["links"]["cancel"], None)

    assert [each["id"] for each in read(account, "/v1/batches?state=planned")["items"]] == [kept["id"]]
    assert len(read(account, "/v1/batches")["items"]) == 2


@pytest.mark.parametrize(("field", "value"), [("shards", 0), ("shards", 257), ("shards", "2"), ("output", "x")])
def test_a_field_that_cannot_be_is_named(account: Account, field: str, value: Any) -> None:
    answer = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": {"rows": ROWS}, field: value})

    assert refusal(answer, status=422, code="input_invalid")["field"] == f"/{field}"
    assert not Batch.objects.exists()


def act(account: Account, batch: str, name: str, body: dict[str, Any] | None = None) -> Any:
    return post(account, f"/v1/batches/{batch}/{name}", body)


def test_a_batch_is_paused_and_resumed_and_says_why_it_waits(account: Account) -> None:
    batch = open_batch(account)["id"]
    paused = act(account, batch, "pause")
    assert (paused.status_code, paused.json()["state"], paused.json()["pause"]["code"]) == (202, "paused", "asked")
    refusal(act(account, batch, "pause"), status=409, code="stale_move")

    resumed = act(account, batch, "resume", {"budget": {"cost_usd": "2.5"}}).json()
    assert (resumed["state"], resumed["pause"], resumed["cost_cap_usd"]) == ("running", None, "2.500000")
    refusal(act(account, batch, "resume"), status=409, code="stale_move")


def test_failed_rows_run_again_only_where_some_have_failed(account: Account) -> None:
    batch = Batch.objects.get(pk=open_batch(account, shards=1)["id"])
    refusal(act(account, str(batch.pk), "retry-failed"), status=409, code="stale_move")
    batch.shards.update(state=ShardState.COMPLETED, position=5)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.COMPLETED, finished_at=datetime.now(UTC), gathered_at=datetime.now(UTC))
    refusal(act(account, str(batch.pk), "retry-failed"), status=409, code="nothing_failed")

    batch.shards.update(errors={"declined": 2}, failed_rows=2)
    again = act(account, str(batch.pk), "retry-failed").json()
    assert (again["state"], again["round"], again["finished_at"]) == ("running", 1, None)
    assert batch.shards.get().state == ShardState.QUEUED


def test_a_batch_keeps_how_many_failed_rows_it_bears(account: Account) -> None:
    batch = open_batch(account, failures={"share": 0.5, "count": 3, "least": 2})["id"]

    assert Batch.objects.get(pk=batch).failures == {"share": 0.5, "count": 3, "least": 2}
    assert Batch.objects.get(pk=open_batch(account)["id"]).failures == {"share": 0.2, "count": None, "least": 100}


@pytest.mark.parametrize("share", ["0.5", True, 1.5, []])
def test_a_share_of_failed_rows_is_a_number(account: Account, share: Any) -> None:
    body = {"endpoint": "enrich@1", "manifest": {"rows": ROWS}, "failures": {"share": share}}

    assert refusal(post(account, "/v1/batches", body), status=422, code="input_invalid")["field"] == "/failures/share"


@pytest.mark.parametrize("name", ["pause", "resume", "retry-failed", "cancel"])
def test_nobody_acts_on_anothers_batch(account: Account, stranger: Account, name: str) -> None:
    batch = open_batch(account)["id"]

    refusal(act(stranger, batch, name), status=404, code="not_found")

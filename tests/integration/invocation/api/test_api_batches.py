from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from pytest_django import Settings

from invocation.domain.batches import BatchState, ShardState
from invocation.models import Batch, Shard
from invocation.services import planning
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
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.RUNNING, started_at=datetime.now(UTC) - timedelta(seconds=10))
    batch.shards.filter(index=0).update(position=3, failed_rows=1, cost_usd=Decimal("0.002"), input_tokens=9, state=ShardState.COMPLETED)
    progress = read(account, f"/v1/batches/{batch.pk}")["progress"]

    assert (progress["rows_done"], progress["rows_failed"], progress["cost_usd"]) == (3, 1, "0.002000")
    assert 0 < progress["rate"] <= 0.3
    assert progress["eta_s"] >= 6.6


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

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from pytest_django import Settings

from invocation.domain.batches import BatchState, ShardState
from invocation.models import Batch, Shard
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

    assert open_batch(account, manifest="lists/week.jsonl")["rows"] == 5


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

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pytest_django import Settings

from invocation.models import Batch
from invocation.services import manifest_room, planning
from quota.domain.callers import Scope
from tests.integration.invocation.api.calling import Account, open_account, post, refusal

LINES = b"".join(b'{"row_id": "%d", "title": "monster"}\n' % number for number in range(1_000))


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


def upload(account: Account, name: str, content: bytes) -> Any:
    return account.api.put(f"/v1/manifests/{name}", content, content_type="application/octet-stream")


def test_an_upload_is_kept_and_a_batch_is_opened_over_it(account: Account, store: Path) -> None:
    told = upload(account, "week.jsonl", LINES).json()

    assert told == {"name": "week.jsonl", "path": "manifests/week.jsonl", "bytes": len(LINES), "sha256": hashlib.sha256(LINES).hexdigest()}
    assert account.api.get("/v1/manifests/week.jsonl").json() == {name: told[name] for name in ("name", "path", "bytes")}
    opened = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": told["path"]}).json()
    planning.plan(UUID(opened["id"]))
    assert Batch.objects.get(pk=opened["id"]).rows == 1_000
    assert (store / str(account.tenant_id) / "manifests" / "week.jsonl").read_bytes() == LINES


def test_an_upload_of_several_megabytes_arrives_whole(account: Account, store: Path) -> None:
    """More than a body of JSON may have, and than is held in memory."""
    told = upload(account, "large.csv", LINES * 100).json()

    assert (told["bytes"], told["sha256"]) == (len(LINES) * 100, hashlib.sha256(LINES * 100).hexdigest())


def test_an_upload_that_is_too_long_keeps_nothing_and_leaves_what_was_there(account: Account, store: Path, settings: Settings) -> None:
    upload(account, "week.jsonl", b"{}")
    settings.MANIFEST_MAX_BYTES = 999

    assert refusal(upload(account, "week.jsonl", LINES), status=413, code="manifest_too_large")["limit"] == 999
    assert [path.read_bytes() for path in store.rglob("*") if path.is_file()] == [b"{}"]


@pytest.mark.parametrize(
    "name", ["week", "week.json", ".jsonl", "-a.jsonl", "a b.jsonl", "..%2Fa.jsonl", "x" * 121 + ".jsonl", "a.parquet.gz"]
)
def test_a_name_that_says_no_format_is_refused(account: Account, store: Path, name: str) -> None:
    answer = upload(account, name, LINES)

    assert answer.status_code in {404, 422}
    assert [path for path in store.rglob("*") if path.is_file()] == []


def test_a_manifest_is_not_replaced_or_deleted_while_a_batch_reads_it(account: Account) -> None:
    upload(account, "week.jsonl", LINES)
    batch = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": "manifests/week.jsonl"}).json()

    for answer in (upload(account, "week.jsonl", b"{}"), account.api.delete("/v1/manifests/week.jsonl")):
        assert refusal(answer, status=409, code="manifest_in_use")["batch_id"] == batch["id"]
    post(account, f"/v1/batches/{batch['id']}/cancel", None)
    assert upload(account, "week.jsonl", b"{}").status_code == 200
    assert account.api.delete("/v1/manifests/week.jsonl").status_code == 204
    refusal(account.api.delete("/v1/manifests/week.jsonl"), status=404, code="not_found")
    refusal(account.api.get("/v1/manifests/week.jsonl"), status=404, code="not_found")


def test_a_manifest_is_its_tenants_alone(account: Account) -> None:
    upload(account, "week.jsonl", LINES)
    other = open_account()

    refusal(other.api.get("/v1/manifests/week.jsonl"), status=404, code="not_found")
    refusal(other.api.delete("/v1/manifests/week.jsonl"), status=404, code="not_found")
    refusal(post(other, "/v1/batches", {"endpoint": "enrich@1", "manifest": "manifests/week.jsonl"}), status=422, code="manifest_invalid")


def test_a_reading_key_uploads_nothing(db: None) -> None:
    reader = open_account(scopes=[Scope.READ])

    refusal(upload(reader, "week.jsonl", LINES), status=403, code="scope_missing")


def test_a_tenants_manifests_together_are_bounded(account: Account, stranger: Account, store: Path, settings: Settings) -> None:
    settings.MANIFESTS_MAX_BYTES = 2 * len(LINES) + 10
    rows = {"endpoint": "enrich@1", "manifest": {"rows": [{"title": "monster"}]}}
    for name in ("one.jsonl", "two.jsonl"):
        assert upload(account, name, LINES).status_code == 200

    for answer in (upload(account, "three.jsonl", LINES), post(account, "/v1/batches", rows)):
        told = refusal(answer, status=413, code="manifests_full")
        assert (told["limit"], told["used"], told["unit"]) == (2 * len(LINES) + 10, 2 * len(LINES), "bytes")
        assert "Delete uploads" in told["remedy"]
    assert sorted(path.name for path in store.rglob("*") if path.is_file()) == ["one.jsonl", "two.jsonl"]
    assert upload(account, "two.jsonl", LINES).status_code == 200
    assert upload(stranger, "three.jsonl", LINES).status_code == 200

    account.api.delete("/v1/manifests/one.jsonl")
    assert post(account, "/v1/batches", rows).status_code == 202
    refusal(upload(account, "three.jsonl", LINES), status=413, code="manifests_full")


def test_a_tenant_keeps_a_bounded_number_of_manifests(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_room, "MOST_FILES", 2)
    upload(account, "one.jsonl", b"{}")
    post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": {"rows": [{"title": "monster"}]}})

    told = refusal(upload(account, "three.jsonl", b"{}"), status=413, code="manifests_full")
    assert (told["limit"], told["used"], told["unit"]) == (2, 2, "files")
    assert upload(account, "one.jsonl", b"{}").status_code == 200

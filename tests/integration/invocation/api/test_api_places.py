"""Where a manifest lies and a dataset goes: what cannot be is refused before anything starts, and a store that is away is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pytest_django import Settings

from invocation.domain.batches import BatchState
from invocation.gateways import s3
from invocation.gateways.stores import store_at
from invocation.models import Batch, StoreGrant
from tests import aws
from tests.integration.invocation.api.calling import Account, post, refusal
from tests.integration.invocation.api.test_api_batches import ROWS
from tests.integration.invocation.api.test_api_manifests import LINES, upload

LONG = "x" * 300


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


class Refusing(BaseHTTPRequestHandler):
    """An S3 that lets nobody in."""

    def answer(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET = do_PUT = answer  # noqa: N815  (http.server's names)

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def refusing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in aws.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    settings.S3_ENDPOINT_URL = f"http://127.0.0.1:{server.server_port}"
    yield
    s3.close()
    server.shutdown()
    thread.join()
    server.server_close()


def opened(account: Account, manifest: Any, **more: Any) -> Any:
    return post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": manifest, **more})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("manifests/a.jsonl/b.jsonl", "b.jsonl"),
        (f"manifests/{LONG}.jsonl", f"manifests/{LONG}.jsonl"),
        (f"{LONG}/a.jsonl", f"{LONG}/a.jsonl"),
        ("/".join([*(["é" * 120] * 8), "a.jsonl"]), "a.jsonl"),
    ],
    ids=["below a file", "a long name", "a long folder", "many folders"],
)
def test_at_a_path_that_no_file_has_there_is_no_manifest(account: Account, path: str, found: str) -> None:
    upload(account, "a.jsonl", LINES)
    told = refusal(opened(account, {"path": path}), status=422, code="manifest_invalid")

    assert (told["field"], told["found"]) == ("manifest", found)
    assert not Batch.objects.exists()


@pytest.mark.usefixtures("refusing")
def test_a_granted_store_that_lets_nobody_in_is_no_fault_of_ours(account: Account) -> None:
    StoreGrant.objects.create(tenant_id=account.tenant_id, prefix="s3://lake")
    answer = opened(account, "s3://lake/a.jsonl")

    assert refusal(answer, status=503, code="store_unavailable")["field"] == "manifest"
    assert int(answer.headers["Retry-After"]) >= 1
    assert not Batch.objects.exists()


@pytest.mark.usefixtures("refusing")
def test_an_object_store_that_is_away_is_told_to_whoever_needs_it(account: Account, settings: Settings) -> None:
    settings.OBJECT_STORE = "s3://ours/objects"
    for answer in (
        opened(account, {"rows": ROWS}),
        upload(account, "a.jsonl", LINES),
        account.api.get("/v1/manifests/a.jsonl"),
        account.api.delete("/v1/manifests/a.jsonl"),
    ):
        assert refusal(answer, status=503, code="store_unavailable")["field"] == "manifest"


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize("state", [BatchState.COMPLETED, BatchState.CANCELLED])
def test_results_in_a_store_that_is_away_are_asked_for_again_later(account: Account, state: BatchState) -> None:
    links, now = opened(account, {"rows": ROWS}).json()["links"], datetime.now(UTC)
    Batch.objects.update(state=state, finished_at=now, gathered_at=now, output="s3://ours/objects/dataset")

    assert refusal(account.api.get(links["results"]), status=503, code="store_unavailable")["field"] == "results"


def test_a_granted_uri_counts_in_its_plain_form(account: Account, s3_folder: str) -> None:
    StoreGrant.objects.create(tenant_id=account.tenant_id, prefix=s3_folder)
    store_at(s3_folder).write_whole("x.jsonl", LINES)

    for told in ({"path": f"{s3_folder}/x.jsonl/", "format": "jsonl"}, f"{s3_folder}/x.jsonl/"):
        batch = opened(account, told).json()
        assert Batch.objects.get(pk=batch["id"]).manifest == f"{s3_folder}/x.jsonl"


@pytest.mark.parametrize("uri", ["s3://lake", "s3://lake/", f"s3://lake/{LONG}/x.jsonl"])
def test_a_uri_that_names_no_file_is_refused(account: Account, uri: str) -> None:
    StoreGrant.objects.create(tenant_id=account.tenant_id, prefix="s3://lake")
    told = refusal(opened(account, {"path": uri, "format": "jsonl"}), status=422, code="manifest_invalid")

    assert (told["field"], told["found"]) == ("manifest", uri)


@pytest.mark.parametrize("uri", ["manifests/a.jsonl", "manifests/a.jsonl/november", LONG, f"exports/{LONG}", f"s3://lake/{LONG}"])
def test_a_dataset_goes_where_a_folder_can_be(account: Account, uri: str) -> None:
    StoreGrant.objects.create(tenant_id=account.tenant_id, prefix="s3://lake", may_write=True)
    upload(account, "a.jsonl", LINES)
    told = refusal(opened(account, {"rows": ROWS}, output={"uri": uri}), status=422, code="output_refused")

    assert (told["field"], told["found"]) == ("uri", uri)
    assert not Batch.objects.exists()


@pytest.mark.parametrize("uri", ["manifests", "exports/" + "x" * 255])
def test_a_folder_that_is_there_holds_a_dataset(account: Account, uri: str) -> None:
    upload(account, "a.jsonl", LINES)

    assert opened(account, {"rows": ROWS}, output={"uri": uri}).status_code == 202

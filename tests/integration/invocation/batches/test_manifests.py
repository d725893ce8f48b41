"""A batch is planned from a manifest that can be run whole, or refused by the line that cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from invocation.domain.columns import columns_of
from invocation.domain.errors import InvocationError, ManifestInvalid, TooManyItems
from invocation.gateways import declared, objects, parquet
from invocation.gateways.stores import BadPath, store_at
from invocation.models import Batch, Shard
from invocation.services import manifest_files
from invocation.services.cutting import Terms, cut
from quota.domain.days import UNLIMITED
from tests.integration.invocation.batches.planned import TENANT, manifest, opened, unread, waiting

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def test_a_batch_is_planned_in_slices_and_starts_nothing_by_itself(p3: Queue) -> None:
    batch = opened(cost_usd=Decimal("3.00"))

    assert (batch.state, batch.rows, batch.cost_cap_usd) == ("planned", 150, Decimal("3.00"))
    assert [shard.rows for shard in batch.shards.order_by("index")] == [38, 38, 37, 37]
    assert opened(cost_usd=Decimal(0)).cost_cap_usd == 0
    assert waiting(p3) == 0


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b'{"text": "one"}\n{"text": "two"\n', 2),
        (b'{"text": "one"}\n\n[1]\n', 3),
        (b'{"text": "one"}\n{"text": 7}\n', 2),
        (b'{"row_id": "a", "text": "one"}\n{"row_id": "a", "text": "two"}\n', 2),
        (b'{"text": "one"}\n{"text": "one"}\n', 2),
        (b'{"row_id": "a\\u0000b"}\n', 1),
        (b'{"text": "' + b"x" * 1_001 + b'"}\n', 1),
        (b'{"text": "' + b"x" * 1_048_576 + b'"}\n', 1),
        (b"", 1),
        (b"\n \n", 1),
    ],
    ids=[
        "half",
        "a list",
        "a wrong field",
        "an id twice",
        "a line twice",
        "a bad id",
        "too many tokens",
        "too long a line",
        "empty",
        "blank",
    ],
)
def test_a_broken_manifest_names_the_line_and_starts_nothing(raw: bytes, line: int) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        opened(source=manifest([], raw=raw))

    assert refused.value.facts["line"] == line
    assert not Batch.objects.exists()
    assert not Shard.objects.exists()


def test_a_wrong_field_of_a_row_is_named_with_its_line() -> None:
    with pytest.raises(ManifestInvalid, match="Line 2") as refused:
        opened([{"text": "one"}, {"text": 7}])

    assert refused.value.facts["field"] == "/text"


def test_more_rows_than_the_endpoint_takes_are_refused() -> None:
    with pytest.raises(TooManyItems):
        opened([{"row_id": str(number)} for number in range(1_001)])

    assert not Batch.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "../other/m.jsonl",
        "/etc/m.jsonl",
        "manifests/../../m.jsonl",
        ".",
        "",
        "missing.jsonl",
        "folder.jsonl",
        "m.txt",
        "s3://bucket/m.jsonl",
    ],
)
def test_a_manifest_lies_in_its_tenants_part_of_the_store(path: str, store: Path) -> None:
    (store / str(TENANT) / "folder.jsonl").mkdir(parents=True)
    with pytest.raises(InvocationError) as refused:
        unread(manifest_files.located(TENANT, path))

    assert refused.value.facts["field"] == "manifest"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..", ".", ""])
def test_a_path_that_leads_out_of_a_tenants_folder_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        Path(objects.store_of(TENANT).at(path))


def test_a_link_out_of_a_tenants_folder_is_refused(store: Path) -> None:
    (store / str(TENANT)).mkdir()
    (store / str(TENANT) / "out").symlink_to("/etc")
    with pytest.raises(BadPath):
        Path(objects.store_of(TENANT).at("out/passwd"))

    assert Path(objects.store_of(TENANT).at("in/there.json")) == (store / str(TENANT) / "in/there.json").resolve()


def test_rows_that_come_with_a_request_are_a_manifest_of_the_tenants() -> None:
    rows: list[Mapping[str, Any]] = [{"row_id": "a", "text": "one"}, {"row_id": "b", "text": "two"}]
    staged = manifest_files.stage(TENANT, rows)
    with staged.file() as file:
        assert [json.loads(line) for line in file] == rows

    assert cut(staged, Terms(endpoint=declared.book().find("trial-batch@1"), day=UNLIMITED, shards=8)).rows == 2
    manifest_files.drop(staged)
    assert not Path(staged.location).exists()


def test_a_part_written_again_replaces_itself(store: Path) -> None:
    columns: Mapping[str, Any] = {"row_id": ["a"], "error_code": [""], "finished_at": [datetime.now(UTC)]}
    for _ in range(2):
        parquet.write_part(store_at(store), "shard=00000/part.parquet", columns, columns_of({}))

    assert [file.name for file in (store / "_staging").rglob("*") if file.is_file()] == ["part.parquet"]

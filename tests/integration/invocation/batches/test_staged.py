"""What was staged for one batch goes some days after its end, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from invocation.domain.batches import BatchState
from invocation.domain.errors import ManifestChanged
from invocation.domain.manifests import Form, Format
from invocation.gateways import objects
from invocation.models import Batch
from invocation.services import batch_control, manifest_files, staged
from invocation.services.manifests import Manifest
from tests.integration.invocation.records import a_batch, a_named_tenant

pytestmark = pytest.mark.django_db
ROWS = [{"row_id": "a"}]


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture
def tenant() -> UUID:
    return a_named_tenant()


def batch_over(manifest: Manifest, tenant: UUID, **columns: Any) -> Batch:
    batch = a_batch(tenant_id=tenant)
    Batch.objects.filter(pk=batch.pk).update(manifest=manifest.location, **columns)
    return batch


def ended(days: float) -> dict[str, Any]:
    return {"state": BatchState.COMPLETED, "finished_at": in_days(days), "gathered_at": in_days(days)}


def test_rows_of_a_request_go_a_week_after_their_batch_has_ended(tenant: UUID) -> None:
    manifest = manifest_files.stage(tenant, ROWS)
    batch_over(manifest, tenant, **ended(2))

    assert staged.sweep(now=in_days(8.9)) == 0
    assert Path(manifest.location).exists()
    assert staged.sweep(now=in_days(9.1)) == 1
    assert not Path(manifest.location).exists()
    assert staged.sweep(now=in_days(9.1)) == 0


def test_rows_stay_as_long_as_their_batch_has_not_ended(tenant: UUID) -> None:
    manifest = manifest_files.stage(tenant, ROWS)
    batch_over(manifest, tenant)

    assert staged.sweep(now=in_days(400)) == 0
    assert Path(manifest.location).exists()


def test_what_was_staged_and_never_opened_goes_too(tenant: UUID) -> None:
    with manifest_files.copying(tenant, Form(Format.CSV)) as (_, file):
        file.write(b"row_id\na\n")

    assert staged.sweep(now=in_days(6.9)) == 0
    assert staged.sweep(now=in_days(7.1)) == 1


def test_uploads_and_what_else_lies_there_stay(tenant: UUID) -> None:
    store = objects.store_of(tenant)
    paths = ["manifests/week.jsonl", "manifests/staged/batch/part-0.parquet", "manifests/staged/notes.txt"]
    for path in paths:
        store.write_whole(path, b"{}")

    assert staged.sweep(now=in_days(400)) == 0
    assert sorted(path for path, _ in store.list()) == sorted(paths)


@pytest.mark.usefixtures("s3_folder", "tenant")
def test_a_store_that_is_away_is_left_for_later(settings: Any) -> None:
    settings.OBJECT_STORE = "s3://no-such-bucket-anywhere/x"

    with capture_logs() as said:
        assert staged.sweep(now=in_days(400)) == 0
    assert [line["event"] for line in said if line["log_level"] == "warning"] == ["staged_manifests_are_kept"]


def test_a_batch_whose_rows_are_gone_stays_completed(tenant: UUID) -> None:
    manifest = manifest_files.stage(tenant, ROWS)
    batch = batch_over(manifest, tenant, **ended(0))
    batch.shards.update(state="completed", position=10, done=10)
    manifest_files.drop(manifest)

    with pytest.raises(ManifestChanged, match="is gone"):
        batch_control.retry_failed(batch.pk, now=in_days(8))
    batch.refresh_from_db()
    assert (batch.state, batch.round) == ("completed", 0)

"""Datasets in catalogs: registered with the batch's end, tried again when a catalog was away, never in the dataset's way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from invocation.domain.catalogs import CatalogAway, name_of
from invocation.gateways import catalogs
from invocation.gateways.catalogs.sql import SqlCatalog
from invocation.models import Batch, CatalogTable, Registration
from invocation.services import datasets, registering
from tests.integration.invocation.batches.planned import LINES, Workers, manifest, opened
from tests.integration.invocation.rows import NOW

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
FAILING = [*LINES[:5], {"row_id": "no", "fails": "decline"}]


def away(*_: object) -> None:
    raise CatalogAway("the catalog is away")


def test_a_completed_batch_is_listed_with_what_its_manifest_says(workers: Workers) -> None:
    batch = workers.finish(opened(FAILING))
    results, errors = CatalogTable.objects.order_by("name")
    told = datasets.manifest(batch.pk)

    assert (results.name, errors.name) == tuple(name_of(batch.endpoint, batch.pk, kind) for kind in ("results", "errors"))
    assert (results.location, errors.location) == (f"{batch.output}/data", f"{batch.output}/errors")
    assert (results.rows, errors.rows, results.tenant_id) == (5, 1, batch.tenant_id)
    assert results.columns == told["columns"]
    assert Registration.objects.get().done_at is not None


def test_a_catalog_that_is_away_loses_no_dataset_and_is_told_later(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as gone:
        gone.setattr(SqlCatalog, "register", away)
        batch = workers.finish(opened(FAILING))
        assert (batch.state, len(list(datasets.rows(batch.pk)))) == ("completed", 5)
        row = Registration.objects.get()
        assert (row.tries, row.done_at, row.error) == (1, None, "the catalog is away")
        assert row.due_at > NOW
        assert registering.sweep(now=row.due_at) == 0
        again = Registration.objects.get()
        assert again.due_at - row.due_at == 2 * registering.FIRST_WAIT

    assert registering.sweep(now=again.due_at - timedelta(seconds=1)) == 0
    assert registering.sweep(now=again.due_at) == 1
    assert CatalogTable.objects.count() == 2
    done = Registration.objects.get()
    assert (done.tries, done.done_at, done.error) == (3, again.due_at, "")
    assert registering.sweep(now=again.due_at + timedelta(days=1)) == 0


def test_a_process_that_dies_while_registering_is_made_up_for(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registering, "register", lambda *_, **__: 0)
    workers.finish(opened(FAILING))
    assert not CatalogTable.objects.exists()

    assert registering.sweep(now=Registration.objects.get().due_at) == 1
    assert CatalogTable.objects.count() == 2


def test_registered_again_after_a_later_round_it_is_as_it_is_now(workers: Workers) -> None:
    batch = workers.finish(opened(FAILING))
    Registration.objects.all().delete()
    registering.ask(batch, now=NOW)
    _mend_errors(batch)

    assert registering.register(batch.pk, now=NOW) == 1
    assert CatalogTable.objects.get().name == name_of(batch.endpoint, batch.pk, "results")


def _mend_errors(batch: Batch) -> None:
    """Write the manifest that a later round would, in which no row failed."""
    from invocation.gateways import parquet

    told = datasets.manifest(batch.pk)
    parquet.finish(datasets.store_of(batch), {**told, "errors": 0, "files": {**told["files"], "errors": []}})


def test_two_sweeps_at_once_try_a_registration_once(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[datetime] = []
    batch = workers.finish(opened(FAILING))
    Registration.objects.update(done_at=None, due_at=NOW)

    def tries(*_: Any) -> None:
        tried.append(NOW)
        assert registering.sweep(now=NOW) == 0

    monkeypatch.setattr(SqlCatalog, "register", tries)
    assert registering.register(batch.pk, now=NOW) == 1
    assert len(tried) == 2


def test_a_dataset_in_s3_is_in_glue_as_well(
    workers: Workers, aws_address: str, s3_folder: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", aws_address)
    settings.GLUE_DATABASE = "gearbox"
    source = manifest(FAILING)
    settings.OBJECT_STORE = s3_folder
    batch = workers.finish(opened(source=source))
    found = catalogs.catalog("glue").find(name_of(batch.endpoint, batch.pk, "results"))

    assert batch.output.startswith(s3_folder)
    assert found is not None
    assert (found.location, found.rows) == (f"{batch.output}/data", 5)
    assert sorted(Registration.objects.values_list("catalog", flat=True)) == ["glue", "sql"]
    assert not Registration.objects.filter(done_at=None).exists()

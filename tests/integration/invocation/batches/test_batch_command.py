"""`manage.py batch run` reads the manifest in the terminal: what is wrong with it is said there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from invocation.models import Batch
from invocation.services import batch_openings
from quota.models import Tenant
from tests.integration.invocation.rows import a_tenant

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def run(manifest: Path, *more: str) -> str:
    tenant = Tenant.objects.get(pk=a_tenant())
    out = io.StringIO()
    call_command("batch", "run", str(manifest), "--endpoint", "trial-batch@1", "--tenant", tenant.name, *more, stdout=out)
    return out.getvalue()


def test_a_table_is_copied_and_planned_with_the_column_that_names_its_rows(tmp_path: Path) -> None:
    manifest = tmp_path / "export.txt"
    manifest.write_text("sku,text\n1,one\n2,two\n")
    told = run(manifest, "--format", "csv", "--row-id", "sku", "--shards", "1")
    batch = Batch.objects.get()

    assert told == f"batch {batch.pk}\n"
    assert (batch.state, batch.rows, batch.manifest_format, batch.names_rows) == ("planned", 2, "csv", "sku")
    assert Path(batch.manifest).read_bytes() == manifest.read_bytes()


def test_a_broken_manifest_is_refused_by_its_line_and_its_copy_is_taken_away(tmp_path: Path, store: Path) -> None:
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text('{"text": "one"}\n{"text": 7}\n')

    with pytest.raises(CommandError, match="Line 2"):
        run(manifest)
    assert not Batch.objects.exists()
    assert [path for path in store.rglob("*.jsonl") if path != manifest] == []


def test_a_copy_is_taken_away_whatever_ended_its_reading(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text('{"text": "one"}\n')

    def cut(*given: object) -> None:
        raise MemoryError("too much at once")

    monkeypatch.setattr(batch_openings, "cut", cut)
    with pytest.raises(MemoryError, match="too much"):
        run(manifest)
    assert [path for path in store.rglob("*.jsonl") if path != manifest] == []

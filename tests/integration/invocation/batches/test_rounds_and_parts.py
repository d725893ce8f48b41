"""What of a batch is published when its failed rows run again, and when it ends early."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from invocation.domain.catalogs import name_of
from invocation.domain.errors import StaleMove
from invocation.gateways import parquet
from invocation.models import Batch, CatalogTable
from invocation.selectors import waves as seen
from invocation.services import batch_pauses, batches, datasets, gathering, publishing, waves
from tests.integration.invocation import trial
from tests.integration.invocation.batches.planned import LINES, Workers, errors, opened, results

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
FAILING: list[Any] = [*LINES[:20], {"row_id": "no", "fails": "decline"}, {"row_id": "crash", "fails": "crash"}]


class Killed(BaseException):
    """The process would be gone here: nothing that catches errors catches this."""


def files_of(batch: Batch) -> list[str]:
    return [path for path, _ in datasets.store_of(batch).list()]


def mended(batch: Batch, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Run the failed rows again, now that nothing makes them fail."""
    assert batch_pauses.retry_failed(batch.pk, now=datetime.now(UTC)) == 2
    with monkeypatch.context() as kind:
        kind.setattr(trial, "fail", lambda _: None)
        batch.refresh_from_db()
        return workers.finish(batch)


def test_rows_that_ran_again_take_the_place_of_their_errors(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = workers.finish(opened(FAILING))
    assert errors(batch) == Counter(["no", "crash"])
    mended(batch, workers, monkeypatch)
    told = datasets.manifest(batch.pk)

    assert (batch.state, errors(batch)) == ("completed", Counter())
    assert results(batch) == Counter(str(line["row_id"]) for line in FAILING)
    assert (told["round"], told["rows"], told["results"], told["errors"], told["partial"]) == (1, 22, 22, 0, False)
    assert set(files_of(batch)) == {file["file"] for file in told["files"]["results"]} | {"_SUCCESS", "_manifest.json"}
    assert [table.name for table in CatalogTable.objects.all()] == [name_of(batch.endpoint, batch.pk, "results")]


def test_who_was_told_late_to_gather_leaves_a_batch_alone_that_runs_again(workers: Workers) -> None:
    """Its worker was frozen between the look and the act, while another gathered and somebody asked for another round."""
    batch = workers.finish(opened(FAILING))
    batch_pauses.retry_failed(batch.pk, now=datetime.now(UTC))
    gathering.gather(batch.pk, now=datetime.now(UTC))

    batch.refresh_from_db()
    assert batch.state == "running"


def test_a_crash_in_a_later_round_leaves_the_round_before(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies when the second shard of the new round is to be written."""
    batch = workers.finish(opened(FAILING))
    published = publishing._publish
    with monkeypatch.context() as dying:
        dying.setattr(publishing, "_publish", _breaks_behind(1, published))
        with pytest.raises(Killed):
            mended(batch, workers, monkeypatch)
    before = parquet.written_manifest(datasets.store_of(batch))
    assert before["round"] == 0
    assert set(files_of(batch)) >= {file["file"] for kind in ("results", "errors") for file in before["files"][kind]}

    gathering.gather(batch.pk, now=datetime.now(UTC) + 2 * waves.TRUSTED)
    assert results(batch) == Counter(str(line["row_id"]) for line in FAILING)
    assert errors(batch) == Counter()


def _breaks_behind(count: int, real: object) -> object:
    left = iter(range(count))

    def act(*given: object) -> object:
        if next(left, None) is None:
            raise Killed
        return real(*given)  # type: ignore[operator]

    return act


def test_what_was_finished_of_a_cancelled_batch_is_published_as_a_part(workers: Workers) -> None:
    batch = opened(FAILING, shards=2)
    waves.go_on(batch.pk, now=datetime.now(UTC))
    workers.run(batch.shards.get(index=0).pk)
    batches.cancel(batch.pk, now=datetime.now(UTC))
    waves.after_wave(batch.pk)
    batch.refresh_from_db()
    told = datasets.part_of(batch)

    assert told is not None
    assert (told["partial"], told["rows"], told["rows_of_manifest"]) == (True, 11, 22)
    assert (Path(batch.output) / "_PARTIAL").exists()
    assert not [path for path in files_of(batch) if path.startswith("_staging") or path == "_SUCCESS"]
    with pytest.raises(FileNotFoundError):
        datasets.manifest(batch.pk)
    assert not CatalogTable.objects.exists()


def test_a_round_that_was_cancelled_is_in_the_catalogs_as_its_files_are(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = workers.finish(opened(FAILING))
    assert CatalogTable.objects.count() == 2
    batch_pauses.retry_failed(batch.pk, now=datetime.now(UTC))
    monkeypatch.setattr(trial, "fail", lambda _: None)
    waves.go_on(batch.pk, now=datetime.now(UTC))
    workers.run(*batch.shards.filter(state="queued").values_list("pk", flat=True))
    batches.cancel(batch.pk, now=datetime.now(UTC))
    waves.after_wave(batch.pk)
    batch.refresh_from_db()
    told = datasets.part_of(batch)

    assert told is not None
    assert (batch.state, told["results"], told["errors"]) == ("cancelled", 22, 0)
    tables = CatalogTable.objects.values_list("name", "rows", "bytes")
    assert list(tables) == [(name_of(batch.endpoint, batch.pk, "results"), told["results"], told["bytes"])]


def test_a_batch_that_ended_before_any_row_publishes_nothing(workers: Workers) -> None:
    batch = opened(FAILING)
    batches.cancel(batch.pk, now=datetime.now(UTC))
    waves.after_wave(batch.pk)
    batch.refresh_from_db()

    assert batch.gathered_at is not None
    assert (datasets.part_of(batch), files_of(batch)) == (None, [])


def test_who_dies_before_staging_is_dropped_leaves_it_to_the_sweep(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then no row runs again: its part would lie in what is about to be dropped."""
    with monkeypatch.context() as dying:
        dying.setattr(parquet, "drop_staging", _dies)
        with pytest.raises(Killed):
            workers.finish(opened(FAILING))
    batch = Batch.objects.get()
    assert (batch.state, batch.gathered_at) == ("completed", None)
    assert any(path.startswith(parquet.STAGING) for path in files_of(batch))
    with pytest.raises(StaleMove):
        batch_pauses.retry_failed(batch.pk, now=datetime.now(UTC))

    later = datetime.now(UTC) + 2 * waves.TRUSTED
    assert list(seen.left_behind(since=later - waves.TRUSTED, now=later)) == [batch]
    waves.after_wave(batch.pk)

    batch.refresh_from_db()
    assert batch.gathered_at is not None
    assert not any(path.startswith(parquet.STAGING) for path in files_of(batch))
    assert datasets.manifest(batch.pk)["rows"] == len(FAILING)
    assert list(seen.left_behind(since=later - waves.TRUSTED, now=later)) == []


def _dies(_: object) -> None:
    raise Killed

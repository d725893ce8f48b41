"""A dataset that cannot be written is tried again, later each time, with what went wrong on record, and has an end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from invocation.api.shapes.batches import BatchShape
from invocation.domain.batch_acts import Act, possible
from invocation.domain.errors import StaleMove
from invocation.domain.gathering import FIRST_WAIT, LONGEST_WAIT, MOST_TRIES
from invocation.domain.gathering import wait as wait_of
from invocation.gateways import parquet
from invocation.models import Batch
from invocation.selectors import waves as seen
from invocation.services import batch_control, batch_pauses, batches, gathering, publishing, waves
from tests.integration.invocation.batches.planned import LINES, Workers, opened, results
from tests.integration.invocation.trial import DONE

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
FAILING: list[Any] = [*LINES[:6], {"row_id": "no", "fails": "decline"}]


class Killed(BaseException):
    """The process would be gone here: nothing that catches errors catches this."""


def run(workers: Workers, lines: list[Any] = LINES[:8]) -> Batch:
    """Return a batch whose rows are done, and whose dataset is not."""
    batch = opened(lines, shards=2)
    waves.go_on(batch.pk, now=datetime.now(UTC))
    workers.run(*batch.shards.values_list("pk", flat=True))
    return batch


def raising(error: BaseException) -> Callable[..., None]:
    def act(*_: Any, **__: Any) -> None:
        raise error

    return act


def staged(batch: Batch) -> list[Path]:
    return list(Path(batch.output).glob("_staging/*/*.parquet"))


def is_left(batch: Batch, now: datetime) -> bool:
    return batch in seen.left_behind(since=now, now=now)


def gather_at(batch: Batch, now: datetime) -> None:
    gathering.gather(batch.pk, now=now)
    batch.refresh_from_db()


def test_what_went_wrong_is_on_record_and_tried_again_when_it_is_due(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, began = run(workers), datetime.now(UTC)
    with monkeypatch.context() as full:
        full.setattr(publishing, "publish", raising(OSError("No space left on device")))
        waves.after_wave(batch.pk)
        batch.refresh_from_db()
        assert (batch.state, batch.gather_tries) == ("gathering", 1)
        assert batch.gather_due_at
        assert batch.gather_due_at >= began + FIRST_WAIT
        waves.after_wave(batch.pk)
        assert Batch.objects.get().gather_tries == 1
    assert "No space left" in (batch.gathering or {})["broke"]
    told = BatchShape(batch).data["gathering"]
    assert told["code"] == "gathering_broke"
    assert "No space" not in str(told)
    assert [is_left(batch, began), is_left(batch, began + 2 * FIRST_WAIT)] == [False, True]

    gathering.gather(batch.pk, now=batch.gather_due_at)
    found = Batch.objects.values_list("state", "gathering", "gather_tries", "gather_due_at").get()
    assert found == ("completed", None, 0, None)
    assert len(results(batch)) == 8


def test_a_try_counts_in_which_the_process_is_killed(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = run(workers)
    monkeypatch.setattr(publishing, "publish", raising(Killed()))
    with pytest.raises(Killed):
        waves.after_wave(batch.pk)

    batch.refresh_from_db()
    assert (batch.state, batch.gather_tries, batch.gather_due_at is None) == ("gathering", 1, False)


def test_a_dataset_that_is_never_written_fails_its_batch_and_keeps_its_staging(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, now = run(workers), datetime.now(UTC)
    monkeypatch.setattr(publishing, "publish", raising(publishing.DatasetTorn("a part is gone")))
    for _ in range(MOST_TRIES + 1):
        gather_at(batch, now)
        now += 2 * LONGEST_WAIT
    assert (batch.state, batch.gather_tries) == ("failed", MOST_TRIES)
    assert (batch.fault or {})["code"] == "dataset_unwritten"
    assert "a part is gone" in (batch.fault or {})["broke"]
    assert staged(batch)
    assert not is_left(batch, now)
    monkeypatch.setattr(publishing, "publish_part", raising(AssertionError("it is over")))
    waves.after_wave(batch.pk)
    assert Batch.objects.get().gather_tries == MOST_TRIES


def test_a_dataset_that_could_not_be_written_is_tried_again_when_its_batch_is_resumed(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, now = run(workers, FAILING), datetime.now(UTC)
    with monkeypatch.context() as full:
        full.setattr(publishing, "publish", raising(OSError("No space left on device")))
        for _ in range(MOST_TRIES + 1):
            gather_at(batch, now)
            now += 2 * LONGEST_WAIT
    assert batch.state == "failed"
    ran = DONE["runs"]
    batch_control.resume(batch.pk, now=now)
    batch.refresh_from_db()
    assert (batch.state, batch.fault, batch.finished_at, batch.gather_tries) == ("gathering", None, None, 0)
    waves.after_wave(batch.pk)

    batch.refresh_from_db()
    assert (batch.state, len(results(batch)), DONE["runs"]) == ("completed", 6, ran)
    assert not staged(batch)


@pytest.mark.parametrize("code", ["lost_worker", "manifest_invalid"])
def test_a_batch_that_failed_for_something_else_is_not_resumed(code: str) -> None:
    batch, now = opened(LINES[:2]), datetime.now(UTC)
    Batch.objects.filter(pk=batch.pk).update(state="failed", finished_at=now, fault={"code": code})

    with pytest.raises(StaleMove):
        batch_control.resume(batch.pk, now=now)
    assert Batch.objects.get().state == "failed"


def test_the_waits_double_up_to_the_longest() -> None:
    waits = [wait_of(tries) for tries in range(1, MOST_TRIES + 1)]

    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT
    assert timedelta(hours=2) < sum(waits, timedelta()) < timedelta(hours=4)


def test_a_batch_that_cannot_be_gathered_can_be_cancelled(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = run(workers)
    with monkeypatch.context() as full:
        full.setattr(publishing, "publish", raising(OSError("No space left on device")))
        waves.after_wave(batch.pk)
    assert Act.CANCEL in possible("gathering", pause="", fault="", failed=0)
    batches.cancel(batch.pk, now=datetime.now(UTC))
    waves.after_wave(batch.pk)

    batch.refresh_from_db()
    assert (batch.state, batch.gathered_at is not None, batch.gathering) == ("cancelled", True, None)
    assert (Path(batch.output) / "_PARTIAL").exists()
    assert not staged(batch)


def test_who_cancels_while_it_is_gathered_has_a_part_and_nothing_is_lost(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, publish = run(workers), publishing.publish

    def slow(given: Batch) -> None:
        publish(given)
        batches.cancel(given.pk, now=datetime.now(UTC))

    with monkeypatch.context() as crossed:
        crossed.setattr(publishing, "publish", slow)
        waves.after_wave(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.gathered_at, bool(staged(batch))) == ("cancelled", None, True)
    waves.after_wave(batch.pk)

    batch.refresh_from_db()
    folder = Path(batch.output)
    assert batch.gathered_at is not None
    assert ((folder / "_PARTIAL").exists(), (folder / "_SUCCESS").exists()) == (True, False)


def test_what_is_left_of_a_cancelled_batch_is_not_tried_for_ever(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, now = run(workers), datetime.now(UTC)
    batches.cancel(batch.pk, now=now)
    monkeypatch.setattr(publishing, "publish_part", raising(OSError("the bucket is gone")))
    for _ in range(MOST_TRIES + 3):
        gathering.gather_rest(batch.pk, now=now)
        now += 2 * LONGEST_WAIT

    batch.refresh_from_db()
    assert (batch.gather_tries, batch.gathered_at) == (MOST_TRIES, None)
    assert "the bucket is gone" in (batch.gathering or {})["broke"]
    assert staged(batch)
    assert not is_left(batch, now)


def test_staging_that_cannot_be_removed_is_come_back_for(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = run(workers, FAILING)
    with monkeypatch.context() as refused:
        refused.setattr(parquet, "drop_staging", raising(PermissionError("not yours")))
        waves.after_wave(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.gathered_at, batch.gather_tries) == ("completed", None, 0)
    assert "not yours" in (batch.gathering or {})["broke"]
    later = datetime.now(UTC) + 2 * FIRST_WAIT
    assert is_left(batch, later)
    gathering.gather_rest(batch.pk, now=later)

    batch.refresh_from_db()
    assert (batch.gathered_at, batch.gathering, staged(batch)) == (later, None, [])


def test_a_part_that_was_left_over_is_not_read_in_the_next_round(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as kept:
        kept.setattr(parquet, "drop_staging", lambda _: None)
        batch = workers.finish(run(workers, FAILING))
    assert staged(batch)
    assert list(batch.shards.values_list("parts", flat=True)) == [[], []]
    batch_pauses.retry_failed(batch.pk, now=datetime.now(UTC))
    workers.finish(batch)

    assert (batch.state, len(results(batch))) == ("completed", 6)


def test_a_part_that_is_missing_in_a_later_round_is_an_error_and_not_silence(workers: Workers) -> None:
    batch = workers.finish(run(workers, FAILING))
    batch_pauses.retry_failed(batch.pk, now=datetime.now(UTC))
    waves.go_on(batch.pk, now=datetime.now(UTC))
    workers.run(*batch.shards.filter(state="queued").values_list("pk", flat=True))
    [part] = staged(batch)
    part.unlink()
    waves.after_wave(batch.pk)

    batch.refresh_from_db()
    assert batch.state == "gathering"
    assert "FileNotFoundError" in (batch.gathering or {})["broke"]

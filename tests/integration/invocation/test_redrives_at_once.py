"""Redrives under two sweeps at once, a sweep that dies in the middle, and a discard that comes between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from invocation.domain.redrives import RedriveState
from invocation.models import Discard, Job, Redrive
from invocation.services import discards, redrives, redriving
from tests.integration.invocation.records import a_dead_letter
from tests.integration.invocation.redriven import LATER, SECOND, again, counts, finished, opened, successors
from tests.integration.invocation.rows import NOW


@pytest.fixture
def in_threads(transactional_db: None) -> Iterator[Callable[[Callable[[], Any], int], list[Any]]]:
    """Return a function that runs another several times at once, each with a connection of its own."""

    def closing(work: Callable[[], Any]) -> Any:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        yield lambda work, times: [each.result(60) for each in [pool.submit(closing, work) for _ in range(times)]]


def test_sweeps_at_once_start_each_member_once_and_keep_the_rate(in_threads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrives, "JOBS_OF_A_STEP", 3)
    for _ in range(40):
        a_dead_letter()
    redrive = opened(rate=30)
    in_threads(lambda: redrives.sweep(now=LATER), 4)
    assert counts(redrive)[1:] == (40, 30, 0)
    in_threads(lambda: redrives.sweep(now=LATER + SECOND), 4)

    assert counts(redrive) == (RedriveState.COMPLETED, 40, 40, 0)
    assert Job.objects.filter(redrive_of__isnull=False).count() == 40


def test_a_redrive_that_another_sweep_holds_is_passed_over(in_threads: Any) -> None:
    held, free = opened(job_ids=[a_dead_letter().pk]), opened(job_ids=[a_dead_letter().pk])
    with transaction.atomic():
        Redrive.objects.select_for_update().get(pk=held.pk)
        assert in_threads(lambda: redrives.sweep(now=LATER), 1) == [1]
    redrives.sweep(now=LATER + SECOND)

    assert counts(held) == counts(free) == (RedriveState.COMPLETED, 1, 1, 0)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_sweep_that_dies_in_the_middle_loses_and_doubles_nothing(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(redrives, "JOBS_OF_A_STEP", 3)
    dead = {a_dead_letter().pk for _ in range(7)}
    redrive, start, left = opened(rate=50), redriving.start, iter(range(after))

    def dying(*args: Any, **terms: Any) -> Any:
        made = start(*args, **terms)
        if next(left, None) is None:
            raise Killed
        return made

    monkeypatch.setattr(redriving, "start", dying)
    with pytest.raises(Killed):
        redrives.sweep(now=LATER)
    started = again(redrive).done
    assert (started, len(successors())) == (after // 3 * 3, after // 3 * 3)
    monkeypatch.setattr(redriving, "start", start)

    assert counts(finished(redrive, now=LATER)) == (RedriveState.COMPLETED, 7, 7, 0)
    assert successors() == dead
    assert Job.objects.filter(redrive_of__isnull=False).count() == 7


def test_a_discard_and_a_redrive_that_race_do_not_both_win(in_threads: Any) -> None:
    for _ in range(5):
        dead = a_dead_letter()

        def close(job_id: UUID = dead.pk) -> None:
            discards.discard([job_id], tenant_id=None, by="k", reason="r", now=NOW)

        redrive = opened(job_ids=[dead.pk])
        acts = iter([close, lambda: redrives.sweep(now=LATER)])
        in_threads(lambda acts=acts: next(acts)(), 2)
        finished(redrive, now=LATER)
        assert Discard.objects.filter(job_id=dead.pk).exists() != Job.objects.filter(redrive_of=dead.pk).exists()

"""Dead letters closed for good, and which count against the platform."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from invocation.domain.errors import InputInvalid, NotFound
from invocation.domain.jobs import JobState
from invocation.domain.redrives import MOST_IDS, Match
from invocation.models import Discard
from invocation.selectors import dead_letters
from invocation.services import discards, redriving
from tests.integration.invocation.records import a_dead_letter, a_run
from tests.integration.invocation.redriven import LATER, SECOND
from tests.integration.invocation.rows import NOW, a_job


def test_a_discard_closes_a_dead_letter_for_good_and_says_who_when_and_why(db: None) -> None:
    dead, redriven = a_dead_letter(), a_dead_letter()
    redriving.redrive(redriven.pk, now=NOW)
    found = discards.discard([dead.pk, redriven.pk], tenant_id=None, by="kim", reason="a test order", now=LATER)
    second = discards.discard([dead.pk], tenant_id=None, by="lee", reason="another", now=LATER)
    row = Discard.objects.get()

    assert (found.closed, found.redriven, second.closed) == ([dead.pk], [redriven.pk], [])
    assert (row.job_id, row.by, row.at, row.reason) == (dead.pk, "kim", LATER, "a test order")
    assert not dead_letters.matching(Match()).exists()
    assert list(dead_letters.standing(dead_letters.dead_letters(), dead_letters.DISCARDED)) == [dead]


def test_a_discard_of_what_is_not_ours_or_not_dead_closes_nothing(db: None) -> None:
    ours, theirs, queued = a_dead_letter(), a_dead_letter(), a_job()
    for stranger in (theirs.pk, queued.pk):
        with pytest.raises(NotFound):
            discards.discard([ours.pk, stranger], tenant_id=ours.tenant_id, by="k", reason="r", now=NOW)
    for ids, reason in (([], "r"), ([uuid4()] * (MOST_IDS + 1), "r"), ([ours.pk], " ")):
        with pytest.raises(InputInvalid):
            discards.discard(ids, tenant_id=None, by="k", reason=reason, now=NOW)

    assert not Discard.objects.exists()


def test_what_an_agent_declined_does_not_count_against_the_platform(db: None) -> None:
    since = NOW - timedelta(hours=1)
    counted = a_dead_letter()
    a_dead_letter(cause="bad_input", error={"code": "no_such_title"})
    a_dead_letter(finished_at=since - SECOND)
    a_job(JobState.FAILED, mode="scheduled-trigger", endpoint="retention@1")
    for outcome in ("completed", "declined", "cancelled"):
        a_run(outcome=outcome)

    assert list(dead_letters.counts_for_slo(since=since)) == [counted]
    assert dead_letters.share(since=since) == (1, 3)

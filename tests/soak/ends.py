"""What must hold when all is over, whatever happened."""

from __future__ import annotations

from collections.abc import Collection

from tests.soak.ground import WORKERS, Ground, until

OPEN = "SELECT count(*) FROM invocation_job WHERE state NOT IN ('completed', 'failed', 'cancelled')"
NOT_COMPLETED = "SELECT id::text, state, reason, error FROM invocation_job WHERE state IN ('failed', 'cancelled')"
ENDED_TWICE = """
SELECT job_id::text, count(*) FROM invocation_jobevent
WHERE type IN ('job.completed', 'job.failed', 'job.cancelled') GROUP BY job_id HAVING count(*) <> 1
"""
BROKEN_HISTORY = """
SELECT job.id::text, job.event_seq, count(*) FROM invocation_job AS job JOIN invocation_jobevent AS event ON event.job_id = job.id
GROUP BY job.id HAVING count(*) <> job.event_seq OR min(event.seq) <> 1 OR max(event.seq) <> job.event_seq
"""
LEAKED = "SELECT id::text FROM invocation_job WHERE owner IS NOT NULL"
WITHOUT_RESULT = """
SELECT id::text FROM invocation_job WHERE state = 'completed'
  AND NOT EXISTS (SELECT FROM invocation_result AS result WHERE result.job_id = invocation_job.id)
"""


def all_is_well(here: Ground, job_ids: Collection[str], *, within: float) -> None:
    """Every accepted job ended exactly once, completed; each effect was applied exactly once; nothing leaked."""
    until(lambda: _open(here), lambda left: left == 0, within=within)
    assert here.rows(NOT_COMPLETED) == []
    assert here.rows(ENDED_TWICE) == []
    assert here.rows(BROKEN_HISTORY) == []
    assert here.rows(LEAKED) == []
    assert here.rows(WITHOUT_RESULT) == []
    kept = {row[0] for row in here.rows("SELECT id::text FROM invocation_job")}
    assert set(job_ids) <= kept
    applied = here.effects.applied
    assert {key.partition(":")[0] for key in applied} == kept
    assert set(applied.values()) == {1}
    until(here.live_workers, lambda live: live == len(WORKERS), within=90)


def _open(here: Ground) -> int:
    """How many jobs are open still; meanwhile programs that ended by themselves are started again."""
    here.tend()
    return int(here.value(OPEN))

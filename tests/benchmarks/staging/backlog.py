"""Jobs that are queued already: copies of one that was submitted, written in bulk, so that a million take a minute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.staging import rounds
from tests.benchmarks.staging.rounds import NOTHING, Tenants
from tests.benchmarks.staging.stage import Client, Stage

A_TIME = 200_000
TENANTS = """
INSERT INTO quota_tenant (id, name, plan_id, is_active)
SELECT gen_random_uuid(), %(prefix)s || ' ' || number, plan.id, TRUE
FROM generate_series(1, %(most)s) AS number, quota_plan AS plan WHERE plan.name = 'house'
RETURNING id::text
"""
COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = 'invocation_job' AND is_generated = 'NEVER'
"""
# Each row is the template with an id, a tenant and moments of its own; its first event is written as submission writes it.
COPIES = """
WITH owners AS (SELECT owner, (place - 1)::int AS place FROM unnest(%(owners)s::uuid[]) WITH ORDINALITY AS given (owner, place)),
copied AS (
    INSERT INTO invocation_job ({columns})
    SELECT {values} FROM generate_series(0, %(jobs)s - 1) AS number
    JOIN owners ON owners.place = number %% cardinality(%(owners)s::uuid[])
    CROSS JOIN (SELECT * FROM invocation_job WHERE id = %(template)s) AS template
    ORDER BY number
    RETURNING id
)
INSERT INTO invocation_jobevent (job_id, seq, type, at, data) SELECT id, 1, 'job.queued', now(), '{{"move": "submit"}}' FROM copied
"""
OWN: Mapping[str, str] = {"id": "uuidv7()", "tenant_id": "owners.owner", "created_at": "now()", "queued_at": "now()"}


def tenants(stage: Stage, number: int, *, prefix: str) -> Tenants:
    """Make tenants without keys, all at once."""
    return Tenants(ids=[row[0] for row in stage.rows(TENANTS, prefix=prefix, most=number)], keys=[])


@contextmanager
def held(client: Client) -> Iterator[None]:
    """Let no job of the class in meanwhile."""
    hold_id = client.do("hold")
    try:
        yield
    finally:
        client.do("release", hold_id=hold_id)


def queue(stage: Stage, client: Client, owners: Tenants, *, jobs: int, endpoint: str, given: Mapping[str, Any] = NOTHING) -> None:
    """Queue copies of one job, of the tenants in turn. Only while the class is held."""
    template = _template(stage, client, owners, endpoint=endpoint, given=given)
    for done in range(0, jobs - 1, A_TIME):
        _copy(stage, owners, template, jobs=min(A_TIME, jobs - 1 - done))
    stage.rows("VACUUM (ANALYZE) invocation_job")
    stage.rows("VACUUM (ANALYZE) invocation_jobevent")
    stage.rows("CHECKPOINT")


def _template(stage: Stage, client: Client, owners: Tenants, *, endpoint: str, given: Mapping[str, Any]) -> str:
    began = rounds.submit(client, owners, jobs=1, endpoint=endpoint, given=given)["began"]
    return str(
        stage.value("SELECT id::text FROM invocation_job WHERE state = 'queued' AND created_at >= to_timestamp(%(began)s)", began=began)
    )


def _copy(stage: Stage, owners: Tenants, template: str, *, jobs: int) -> None:
    columns = [row[0] for row in stage.rows(COLUMNS)]
    values = [OWN.get(column, f'template."{column}"') for column in columns]
    statement = COPIES.format(columns=", ".join(f'"{column}"' for column in columns), values=", ".join(values))
    with stage.session.transaction():
        stage.rows("SET LOCAL session_replication_role = replica")  # the references are right by construction
        stage.rows(statement, owners=list(owners.ids), jobs=jobs, template=template)

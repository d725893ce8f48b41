"""Acceptance: a job's row and its first event, written together; one job a statement, or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson

from invocation.gateways import statements

# What a submission says, by the column's type; `input` and `metadata` are JSON text.
GIVEN: Mapping[str, str] = MappingProxyType(
    {
        "id": "uuid",
        "tenant_id": "uuid",
        "endpoint": "text",
        "agent": "text",
        "mode": "text",
        "traceparent": "text",
        "priority_class": "text",
        "input": "jsonb",
        "subject": "text",
        "locale": "text",
        "metadata": "jsonb",
        "ordering_key": "text",
        "idempotency_key": "text",
        "fingerprint": "text",
        "latency_budget_ms": "bigint",
        "cost_cap_usd": "numeric",
        "token_cap": "bigint",
        "call_cap": "bigint",
        "tries": "smallint",
        "redrive_of": "uuid",
        "now": "timestamptz",
        "expires_at": "timestamptz",
        "is_behind": "boolean",
        "parent_id": "uuid",
        "root_id": "uuid",
        "depth": "smallint",
        "child_key": "text",
        "webhook_id": "uuid",
        "context_key": "text",
        "context_version": "bigint",
        "relevance": "text",
    }
)
JSON = frozenset({"input", "metadata"})

# Binds what a job is promised at its acceptance; of two with the same idempotency key the first stands.
STATEMENT = """
WITH given AS ({given}),
accepted AS (
    INSERT INTO invocation_job (
        id, tenant_id, endpoint, agent, mode, traceparent, attempt, owner, priority_class, state, reason, event_seq,
        input, subject, locale, metadata, ordering_key, idempotency_key, fingerprint, latency_budget_ms, cost_cap_usd, token_cap, call_cap,
        tries, failures, losses, spent_usd, lent_usd, answers, cause, redrive_of_id, created_at, queued_at, expires_at,
        rank, is_behind, is_alone, parent_id, root_id, depth, child_key, descendants, webhook_id,
        context_key, context_version, relevance)
    SELECT
        id, tenant_id, endpoint, agent, mode, traceparent, 0, NULL, priority_class, 'queued', '', 1,
        input, subject, locale, metadata, ordering_key, idempotency_key, fingerprint, latency_budget_ms, cost_cap_usd, token_cap, call_cap,
        tries, 0, 0, 0, 0, '{{}}', '', redrive_of, now, now, expires_at,
        1, is_behind, FALSE, parent_id, root_id, depth, child_key, 0, webhook_id,
        context_key, context_version, relevance
    FROM given
    ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, created_at
),
noted AS (
    INSERT INTO invocation_jobevent (job_id, seq, type, at, data)
    SELECT id, 1, 'job.queued', created_at, '{{"move": "submit"}}' FROM accepted
)
SELECT id FROM accepted
"""
ONE = STATEMENT.format(given="SELECT " + ", ".join(f"%({name})s::{kind} AS {name}" for name, kind in GIVEN.items()))
ROWS = ", ".join(f"{name} {kind}" for name, kind in GIVEN.items())
MANY = STATEMENT.format(given=f"SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row ({ROWS})")  # noqa: S608  (each part is ours)


def insert(row: Mapping[str, Any]) -> bool:
    """Write a job and its first event; False if its idempotency key was used before. Joins the caller's transaction."""
    return bool(statements.rows(ONE, {**row, **{name: row[name].decode() for name in JSON}}))


def insert_many(rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
    """Write many jobs in one statement and return the ids of those that are new. Joins the caller's transaction.

    Whoever writes several idempotency keys writes them in one order, so that no two wait for each other.
    """
    if not rows:
        return set()
    ordered = sorted(rows, key=lambda row: (row["tenant_id"], row["idempotency_key"] or ""))
    given = orjson.dumps([{**row, **{name: orjson.Fragment(row[name]) for name in JSON}} for row in ordered], default=str)
    return {row[0] for row in statements.rows(MANY, {"rows": given.decode()})}

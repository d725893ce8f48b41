"""Writes the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from quota.domain.ledger import LedgerLine
from quota.gateways.ledgers import LEDGERS, Ledger, ledger_of

APPEND = """
INSERT INTO LINES (
    call_id, tenant_id, endpoint, mode, priority_class, run_id, parent_kind, parent_id, provider, model,
    input_tokens, output_tokens, cached_tokens, input_price, output_price, cached_price, cost_usd, estimated, at)
SELECT * FROM jsonb_to_recordset(%s::jsonb) AS line (
    call_id uuid, tenant_id uuid, endpoint text, mode text, priority_class text, run_id uuid, parent_kind text, parent_id text,
    provider text, model text, input_tokens int, output_tokens int, cached_tokens int,
    input_price numeric, output_price numeric, cached_price numeric, cost_usd numeric, estimated bool, at timestamptz)
ON CONFLICT (call_id) DO NOTHING
RETURNING call_id
"""


def append(lines: Sequence[LedgerLine]) -> Sequence[LedgerLine]:
    """Add the lines in one statement a ledger, inside the caller's transaction: they stand or fall with what they paid for.

    A batch's lines go to the ledger of batches, so the caller's transaction is one of its database; a caller's lines are
    all of one kind. Returns those that were not there yet: a line that is booked again, because nobody heard that it
    was booked, changes nothing.
    """
    added = {call_id for ledger in LEDGERS for call_id in _append(ledger, lines)}
    return [line for line in lines if line.call_id in added]


def _append(ledger: Ledger, lines: Sequence[LedgerLine]) -> set[UUID]:
    ours = [_columns(line) for line in lines if ledger_of(line.parent_kind) is ledger]
    if not ours:
        return set()
    with ledger.connection.cursor() as cursor:
        cursor.execute(ledger.sql(APPEND), [orjson.dumps(ours, default=str).decode()])
        return {row[0] for row in cursor.fetchall()}


def _columns(line: LedgerLine) -> dict[str, Any]:
    return {
        "call_id": line.call_id,
        "tenant_id": line.tenant_id,
        "endpoint": line.endpoint,
        "mode": line.mode,
        "priority_class": line.priority_class,
        "run_id": line.run_id,
        "parent_kind": line.parent_kind,
        "parent_id": line.parent_id,
        "provider": line.provider,
        "model": line.model,
        "input_tokens": line.input_tokens,
        "output_tokens": line.output_tokens,
        "cached_tokens": line.cached_tokens,
        "input_price": line.price.input,
        "output_price": line.price.output,
        "cached_price": line.price.cached,
        "cost_usd": line.cost_usd,
        "estimated": line.estimated,
        "at": line.at,
    }

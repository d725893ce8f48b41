"""The statements that every turn passes through: each opens, claims, ends or stores many turns in one go, on plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import models

from agents.domain.values import Exchange
from invocation.domain.openings import Room, Standing
from invocation.domain.turns import SEQS_OF_A_CLAIM, TURN_EDGES, TurnMove
from invocation.gateways import statements
from invocation.gateways.statements import Exchanges, Statement
from invocation.models import Turn

LOCK_MS = 1_000
FROZEN_MS = 2_000
HISTORY_TURNS = 20

# All openings count one after another, whichever process they are in, so that no two take the same slot. The lock
# ends with the transaction; a process that freezes within it loses its session, so that the others go on.
ONE_AFTER_ANOTHER = """
SELECT set_config('lock_timeout', %(lock)s::text, TRUE), set_config('idle_in_transaction_session_timeout', %(frozen)s::text, TRUE),
       pg_advisory_xact_lock(32330, 0)
"""
# A session is held against an erasure until its turn is there.
ROOM = """
SELECT
  (SELECT json_object_agg(priority_class, slots) FROM (
      SELECT priority_class, sum(slots) AS slots FROM invocation_process
      WHERE lease_until > %(now)s AND NOT is_draining GROUP BY priority_class) AS living),
  (SELECT count(*) FROM invocation_turn WHERE state IN ('queued', 'working')),
  (SELECT json_object_agg(tenant_id, open) FROM (
      SELECT tenant_id, count(*) AS open FROM invocation_turn
      WHERE state IN ('queued', 'working') AND tenant_id = ANY(%(limited)s::uuid[]) GROUP BY tenant_id) AS limited),
  (SELECT json_agg(json_build_array(scope, value, reason)) FROM invocation_hold WHERE released_at IS NULL),
  (SELECT json_object_agg(id, json_build_array(tenant_id, reserved_seq, number, busy)) FROM (
      SELECT session.id, session.tenant_id, session.reserved_seq,
        (SELECT coalesce(max(number), 0) FROM invocation_turn AS turn WHERE turn.session_id = session.id) AS number,
        EXISTS (SELECT FROM invocation_turn AS turn
                WHERE turn.session_id = session.id AND turn.state IN ('queued', 'working')) AS busy
      FROM invocation_session AS session WHERE session.id = ANY(%(sessions)s::uuid[]) FOR KEY SHARE OF session) AS asked)
"""
INSERT = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        id uuid, session_id uuid, is_new boolean, number int, tenant_id uuid, endpoint text, agent text, mode text, traceparent text,
        input jsonb, locale text, subject text, metadata jsonb, latency_budget_ms bigint, cost_cap_usd numeric, token_cap bigint,
        call_cap bigint, received_at timestamptz, deadline timestamptz, first_delta_deadline timestamptz)
),
begun AS (
    INSERT INTO invocation_session (id, tenant_id, endpoint, last_seq, reserved_seq, created_at)
    SELECT session_id, tenant_id, endpoint, 0, 0, received_at FROM given WHERE is_new
)
INSERT INTO invocation_turn (
    id, session_id, number, tenant_id, endpoint, agent, mode, traceparent, attempt, state, input, locale, subject, metadata,
    latency_budget_ms, cost_cap_usd, token_cap, call_cap, text, text_seq, truncated, retracted, received_at, deadline,
    first_delta_deadline)
SELECT id, session_id, number, tenant_id, endpoint, agent, mode, traceparent, 0, 'queued', input, locale, subject, metadata,
    latency_budget_ms, cost_cap_usd, token_cap, call_cap, '', 0, FALSE, FALSE, received_at, deadline, first_delta_deadline
FROM given
"""
FIELDS = tuple(Turn._meta.concrete_fields)  # noqa: SLF001  (Django's own word for it)
JSON = frozenset(number for number, each in enumerate(FIELDS) if isinstance(each, models.JSONField))
TOLD = ", ".join(f"taken.{each.column}" for each in FIELDS)
# Seqs are set aside from behind all that any attempt can have used, so that a wiped Redis cannot make seq go back.
CLAIM = f"""
WITH wanted AS (
    SELECT id FROM invocation_turn WHERE id = ANY(%(ids)s::uuid[]) AND state = ANY(%(sources)s) AND deadline > %(now)s
    ORDER BY id FOR NO KEY UPDATE
),
taken AS (
    UPDATE invocation_turn AS turn SET state = %(target)s, attempt = turn.attempt + 1, owner = %(owner)s, started_at = %(now)s
    FROM wanted WHERE turn.id = wanted.id AND turn.state = ANY(%(sources)s) RETURNING turn.*
),
based AS (
    UPDATE invocation_session AS session
    SET last_seq = greatest(session.last_seq, session.reserved_seq),
        reserved_seq = greatest(session.last_seq, session.reserved_seq) + %(seqs)s
    FROM taken WHERE session.id = taken.session_id RETURNING session.id, session.last_seq
)
SELECT based.last_seq, {TOLD} FROM taken JOIN based ON based.id = taken.session_id
"""  # noqa: S608  (the names are the table's own)
HISTORY = """
SELECT asked.session_id, earlier.input ->> 'text', earlier.text
FROM unnest(%(sessions)s::uuid[], %(numbers)s::int[]) AS asked (session_id, number),
  LATERAL (SELECT turn.number, turn.input, turn.text FROM invocation_turn AS turn
           WHERE turn.session_id = asked.session_id AND turn.number < asked.number AND turn.state = 'completed'
           ORDER BY turn.number DESC LIMIT %(most)s) AS earlier
ORDER BY asked.session_id, earlier.number DESC
"""
# Ends and snapshots of one process meet in the same rows: both take them in order, so that neither waits for the other in a circle.
FINISH = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        id uuid, attempt int, owner uuid, target text, sources jsonb, text text, text_seq bigint, output jsonb, error jsonb,
        truncated boolean, retracted boolean, last_event jsonb, last_seq bigint)
),
held AS (
    SELECT id FROM invocation_turn WHERE id IN (SELECT id FROM given) ORDER BY id FOR NO KEY UPDATE
),
ended AS (
    UPDATE invocation_turn AS turn
    SET state = given.target, text = given.text, text_seq = given.text_seq, output = given.output, error = given.error,
        truncated = given.truncated, retracted = given.retracted, last_event = given.last_event, owner = NULL, finished_at = %(now)s
    FROM held JOIN given USING (id)
    WHERE turn.id = held.id AND turn.attempt = given.attempt AND turn.owner IS NOT DISTINCT FROM given.owner
      AND given.sources ? turn.state
    RETURNING turn.id, turn.session_id, given.last_seq
),
told AS (
    UPDATE invocation_session AS session SET last_seq = ended.last_seq, reserved_seq = ended.last_seq
    FROM ended WHERE session.id = ended.session_id
)
SELECT id FROM ended
"""
STORE = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (id uuid, attempt int, text text, text_seq bigint)
),
held AS (
    SELECT id FROM invocation_turn WHERE id IN (SELECT id FROM given) ORDER BY id FOR NO KEY UPDATE
)
UPDATE invocation_turn AS turn SET text = given.text, text_seq = given.text_seq
FROM held JOIN given USING (id)
WHERE turn.id = held.id AND turn.attempt = given.attempt AND turn.owner = %(owner)s AND turn.state = 'working'
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn as its row stands at the claim, and the seq after which its events begin."""

    turn: Turn
    base: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What an attempt has shown of its answer, up to which event."""

    turn_id: UUID
    attempt: int
    text: str
    seq: int


def alone_with_room(opening: Exchanges, *, sessions: Sequence[UUID], limited: Sequence[UUID], now: datetime) -> Room:
    """Wait for those who open turns at this moment, until the transaction's end, and return what there is then.

    The tenants' turns are counted for those that are `limited`. Raises OperationalError when the wait takes too long.
    """
    alone = Statement(ONE_AFTER_ANOTHER, {"lock": LOCK_MS, "frozen": FROZEN_MS})
    _, told = opening.ask(alone, Statement(ROOM, {"sessions": sessions, "limited": limited, "now": now}))
    [(slots, open_turns, open_of, holds, found)] = told
    return Room(
        slots=slots or {},
        open_turns=open_turns,
        open_of={UUID(tenant): count for tenant, count in (open_of or {}).items()},
        holds=[(scope, value, reason) for scope, value, reason in holds or ()],
        sessions={UUID(name): Standing(UUID(tenant), after, number, busy) for name, (tenant, after, number, busy) in (found or {}).items()},
    )


def insertion(rows: Sequence[Mapping[str, Any]]) -> Statement:
    """Return what writes queued turns, and the sessions of those that begin one."""
    return Statement(INSERT, {"rows": _json(rows)})


def claim(turn_ids: Sequence[UUID], *, owner: UUID, now: datetime) -> dict[UUID, Taken]:
    """Take those that are queued and in time, and return them by id."""
    edge = TURN_EDGES[TurnMove.CLAIM]
    given = {
        "ids": list(turn_ids),
        "sources": sorted(edge.sources),
        "target": str(edge.target),
        "owner": owner,
        "now": now,
        "seqs": SEQS_OF_A_CLAIM,
    }
    found = [_taken(row) for row in statements.rows(CLAIM, given)]
    return {each.turn.pk: each for each in found}


def histories(turns: Sequence[Turn]) -> dict[UUID, list[Exchange]]:
    """Return each session's earlier answered turns, newest first."""
    asked = [turn for turn in turns if turn.number > 1]
    found: dict[UUID, list[Exchange]] = {}
    if asked:
        given = {"sessions": [turn.session_id for turn in asked], "numbers": [turn.number for turn in asked], "most": HISTORY_TURNS}
        for session_id, question, answer in statements.rows(HISTORY, given):
            found.setdefault(session_id, []).append(Exchange(question or "", answer))
    return found


def finish(rows: Sequence[Mapping[str, Any]], *, now: datetime) -> set[UUID]:
    """End those that are still held as their row says, and return their ids."""
    return {row[0] for row in statements.rows(FINISH, {"rows": _json(rows), "now": now})}


def store(shown: Sequence[Shown], *, owner: UUID) -> None:
    """Keep what turns of this process have shown until now; one that it does not hold any more is left alone."""
    rows = [{"id": each.turn_id, "attempt": each.attempt, "text": each.text, "text_seq": each.seq} for each in shown]
    statements.rows(STORE, {"rows": _json(rows), "owner": owner})


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows, default=str).decode()


def _taken(row: tuple[Any, ...]) -> Taken:
    """Read a row: JSON comes as text."""
    base, *told = row
    values = [orjson.loads(value) if number in JSON and value is not None else value for number, value in enumerate(told)]
    return Taken(Turn.from_db("default", [each.attname for each in FIELDS], values), base)

"""Refunds: decided once an order, whoever asks how often."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString

from agents.domain.catalog import Decision
from agents.domain.values import Json
from agents.gateways import postgres

INSERT: LiteralString = """
INSERT INTO agents_refund ("order", reader_id, amount_usd, decision, decided_at, effect_key)
SELECT bought.order, reader_id, CASE WHEN %(decision)s = 'approved' THEN price_usd ELSE 0 END,
       %(decision)s, %(now)s, %(effect_key)s
FROM agents_purchase AS bought
WHERE bought.order = %(order)s
ON CONFLICT DO NOTHING
"""

STORED: LiteralString = """
SELECT decided.order, decided.reader_id AS reader, slug, title, volume, amount_usd::float8, decision
FROM agents_refund AS decided
JOIN agents_purchase AS bought ON bought.order = decided.order
JOIN agents_title ON slug = title_id
WHERE decided.order = %(order)s
"""


async def issue(order: str, *, decision: Decision, effect_key: str, now: datetime) -> Json | None:
    """Store the decision unless one is stored already, and return the stored one; None for an unknown order.

    Called twice, by one run or by two, the first decision stays: an order is paid back at most once.
    """
    await postgres.fetch(INSERT, order=order, decision=decision.value, effect_key=effect_key, now=now)
    return next(iter(await postgres.fetch(STORED, order=order)), None)

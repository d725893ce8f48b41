"""What tenants' plans allow, as the dispatcher knows it: never older than three seconds, and mostly read before it is asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from uuid import UUID

from quota.domain.callers import PlanTerms
from quota.selectors import plan_ids_of, terms_by_plan

TENANT_S = 2.0
"""How long it is remembered which plan a tenant has, or that it is not active."""
PLANS_S = 1.0
"""How often the plans themselves are read, and with them who was met lately: then no round has to wait for that."""
MET_S = 10.0
MOST_MET = 500
MOST_KNOWN = 100_000
UNREAD: tuple[float, int | None] = (float("-inf"), None)


class KnownTerms:
    """Lives as long as a leader leads, on its thread."""

    def __init__(self) -> None:
        self._plans: Mapping[int, PlanTerms] = {}
        self._plans_read_at = float("-inf")
        self._known: dict[UUID, tuple[float, int | None]] = {}
        self._met: dict[UUID, float] = {}

    def of(self, tenants: Sequence[UUID]) -> Mapping[UUID, PlanTerms]:
        """Return the terms of these tenants' plans; one that is not active has none, and one whose plan was deleted under it waits."""
        now = time.monotonic()
        self._met.update(dict.fromkeys(tenants, now))
        if len(self._known) > MOST_KNOWN:
            self._known = {}
        stale = [tenant for tenant in tenants if now - self._known.get(tenant, UNREAD)[0] > TENANT_S]
        if stale:
            self._read(stale, now=now)
        plans = {tenant: self._known[tenant][1] for tenant in tenants}
        return {tenant: self._plans[plan] for tenant, plan in plans.items() if plan is not None and plan in self._plans}

    def read_ahead(self) -> None:
        """Read anew, once a second, the plans and who was met last: between two rounds nobody waits for it."""
        now = time.monotonic()
        if now - self._plans_read_at < PLANS_S:
            return
        latest = sorted(((at, tenant) for tenant, at in self._met.items() if now - at < MET_S), reverse=True)[:MOST_MET]
        self._met = {tenant: at for at, tenant in latest}
        if self._met:
            self._read(list(self._met), now=now)

    def _read(self, tenants: Sequence[UUID], *, now: float) -> None:
        """Which plan each has is read before the plans: one that was made meanwhile is among them."""
        plans = plan_ids_of(tenants)
        if now - self._plans_read_at > PLANS_S or not self._plans.keys() >= set(plans.values()):
            self._plans, self._plans_read_at = terms_by_plan(), now
        self._known.update({tenant: (now, plans.get(tenant)) for tenant in tenants})

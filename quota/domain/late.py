"""What was settled and the store may not have heard yet, and what p0 spent of a day by itself meanwhile."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from datetime import date
from itertools import islice
from uuid import UUID

from quota.domain.budgets import NONE, Spending
from quota.domain.days import DayHold

Settled = tuple[DayHold, Spending]
MOST_LATE = 10_000
BOOKED_S = 90.0
"""So long after the store has heard of it a call may still be missing in the ledger."""


class Late:
    """Oldest first. Beyond `MOST_LATE` the oldest is forgotten: it stays set aside until its hold lapses."""

    def __init__(self) -> None:
        self._settled: dict[UUID, Settled] = {}
        self._by_tenant: Counter[UUID] = Counter()

    def __len__(self) -> int:
        return len(self._settled)

    def keep(self, hold: DayHold, used: Spending) -> None:
        if hold.id not in self._settled:
            if len(self) >= MOST_LATE:
                self._drop(next(iter(self._settled)))
            self._by_tenant[hold.tenant_id] += 1
        self._settled[hold.id] = hold, used

    def first(self, count: int) -> list[Settled]:
        return list(islice(self._settled.values(), count))

    def told(self, settled: Sequence[Settled]) -> None:
        """Forget what the store has heard, unless something else was said of the hold meanwhile."""
        for each in settled:
            if self._settled.get(each[0].id) is each:
                self._drop(each[0].id)

    def is_of(self, tenant_id: UUID) -> bool:
        return tenant_id in self._by_tenant

    def clear(self) -> None:
        self._settled.clear()
        self._by_tenant.clear()

    def _drop(self, hold_id: UUID) -> None:
        tenant_id = self._settled.pop(hold_id)[0].tenant_id
        self._by_tenant[tenant_id] -= 1
        if not self._by_tenant[tenant_id]:
            del self._by_tenant[tenant_id]


class LocalDays:
    """What calls of this process took of their tenants' days while the store was away. Moments are monotonic seconds.

    What the store has heard counts here for a while longer: then it is in the ledger, and would count twice.
    """

    def __init__(self) -> None:
        self._spent: dict[tuple[UUID, date], Spending] = {}
        self._heard: deque[tuple[float, DayHold, Spending]] = deque()

    def __len__(self) -> int:
        return len(self._spent)

    def of(self, tenant_id: UUID, day: date, *, at: float) -> Spending:
        while self._heard and self._heard[0][0] <= at - BOOKED_S:
            _, hold, used = self._heard.popleft()
            self.add(hold, NONE - used)
        return self._spent.get((tenant_id, day), NONE)

    def add(self, hold: DayHold, more: Spending) -> None:
        key = hold.tenant_id, hold.day
        self._spent[key] = self._spent.get(key, NONE) + more
        if self._spent[key] == NONE:
            del self._spent[key]

    def heard(self, hold: DayHold, used: Spending, *, at: float) -> None:
        """The store has heard what a call has used. Tell it once a call."""
        if hold.is_local:
            self._heard.append((at, hold, used))

    def clear(self) -> None:
        self._spent.clear()
        self._heard.clear()

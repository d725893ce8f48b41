"""Cursor pagination: newest first by id; a cursor is signed and belongs to one tenant, one list and its filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.core import signing
from django.db.models import Model, QuerySet

from invocation.domain.errors import BadCursor

SALT = "gearbox.cursor"
MOST = 100
USUAL = 20

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Place:
    """Which list is read, by whom and with what filters."""

    tenant_id: UUID
    path: str
    filters: Mapping[str, Any]

    def cursor(self, last: Any) -> str:
        return signing.dumps([*self._seal, str(last)], salt=SALT)

    def after(self, cursor: str) -> str:
        """Return the key of the last row that was seen. Raises BadCursor."""
        try:
            tenant, path, filters, last = signing.loads(cursor, salt=SALT)
        except (signing.BadSignature, ValueError, TypeError):
            raise BadCursor("This cursor was not made here, or was changed.", field="cursor") from None
        if [tenant, path, filters] != self._seal:
            raise BadCursor("This cursor belongs to another list or to other filters.", field="cursor")
        return str(last)

    @property
    def _seal(self) -> list[Any]:
        return [str(self.tenant_id), self.path, {name: str(value) for name, value in sorted(self.filters.items())}]


def page(rows: QuerySet[M], *, at: Place, cursor: str | None, limit: int) -> tuple[Sequence[M], str | None]:
    """Return up to `limit` rows by falling id and the cursor of the next page, None on the last. Raises BadCursor."""
    if cursor:
        rows = rows.filter(pk__lt=at.after(cursor))
    found = list(rows.order_by("-pk")[: limit + 1])
    more = len(found) > limit
    return found[:limit], at.cursor(found[limit - 1].pk) if more else None

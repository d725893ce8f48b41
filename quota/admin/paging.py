"""Pages of tables too long to be counted."""

from __future__ import annotations

from typing import Any, cast

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

MOST_COUNTED = 10_000


class BoundedPaginator(Paginator[Any]):
    """Counts, and pages through, the first ten thousand rows; filters and search reach the others."""

    template_name = "admin/quota/pages.html"

    @cached_property
    def count(self) -> int:
        rows = cast(QuerySet[Any], self.object_list)
        return rows.order_by().values("pk")[: MOST_COUNTED + 1].count()

    @property
    def is_bounded(self) -> bool:
        return self.count > MOST_COUNTED

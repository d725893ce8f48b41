"""Pages of tables too long to be counted."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.utils.functional import cached_property

MOST_COUNTED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # Django's class takes no argument at run time
    """Counts, and pages through, the first ten thousand rows; filters and search reach the others."""

    template_name = "admin/invocation/parts/pages.html"

    @cached_property
    def count(self) -> int:  # type: ignore[override]
        return int(self.object_list.order_by()[: MOST_COUNTED + 1].count())  # type: ignore[union-attr]

    @property
    def is_bounded(self) -> bool:
        return self.count > MOST_COUNTED

"""What the admin's pages of records share: they are read, searched by id, and changed only by named acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ShowFacets, display
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, Value
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from invocation.admin import cells
from invocation.domain.errors import InvocationError
from invocation.selectors import tenants
from quota.admin.paging import BoundedPaginator
from quota.domain.errors import CanNeverFit

SHORTEST_PREFIX = 8


class OnRecord(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Rows that services write: nobody adds, changes or deletes them here. Acts are POSTs, each one service call."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    list_fullwidth = True
    ordering: tuple[str, ...] = ("-pk",)
    page_template = ""
    payloads: tuple[str, ...] = ()
    acts: Mapping[str, Callable[[HttpRequest, Any], None]] = MappingProxyType({})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Acts ask for the permission to change, which by itself opens no form here."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Every row knows whether who asks may act on it, so that cells show buttons only to those; lists leave payloads out."""
        rows: QuerySet[Any] = super().get_queryset(request).annotate(may_act=Value(self.has_act_permission(request)))
        asked = request.resolver_match
        return rows if asked and "object_id" in asked.kwargs else rows.defer(*self.payloads)

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_act"
        return [path("<path:object_id>/act/<slug:act>/", self.admin_site.admin_view(self.act_view), name=name), *super().get_urls()]

    def act_view(self, request: HttpRequest, object_id: str, act: str) -> HttpResponse:
        """Do one act on one row, and go back to the page that asked for it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_act_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None or act not in self.acts:
            raise Http404
        attempt(request, self.acts[act], row)
        return HttpResponseRedirect(self._origin(request))

    def act_button(self, row: Any, act: str, *, text: str) -> SafeString | str:
        """Return a button for a list's cell: it posts the list's own form, and its CSRF token, to the act."""
        if not row.may_act:
            return cells.NONE
        target = self.act_address(row, act)
        return format_html('<button type="submit" class="gx-button" formaction="{}" formmethod="post">{}</button>', target, text)

    def act_address(self, row: Model, act: str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_act", args=[row.pk, act])

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        """Show one row. There is no form, whoever asks."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            return cast(HttpResponse, self._get_obj_does_not_exist_redirect(request, self.opts, object_id))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": row,
            "row": row,
            "title": str(row),
            **self.facts(request, row),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.page_template, context)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the row's page shows beside the row."""
        return {}

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Search by id: whole, or its beginning; both use the primary key's index."""
        term = search_term.strip().lower()
        if not term:
            return queryset, False
        bounds = _bounds(term)
        if bounds is None:
            messages.warning(request, "Search by an id, or by at least its first eight digits.")
            return queryset.none(), False
        return queryset.filter(pk__gte=bounds[0], pk__lte=bounds[1]), False

    def _origin(self, request: HttpRequest) -> str:
        came_from = request.headers.get("Referer", "")
        if url_has_allowed_host_and_scheme(came_from, {request.get_host()}, require_https=request.is_secure()):
            return came_from
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")


class TenantsRecord(OnRecord):
    """Records that belong to a tenant, whose name comes with the row. Newest first: no index serves another order."""

    sortable_by: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request).annotate(tenant_name=tenants.name_of())
        return found

    @display(description="tenant")
    def tenant(self, row: Any) -> str:
        return row.tenant_name or cells.short(row.tenant_id)

    @display(description="id")
    def key(self, row: Any) -> SafeString:
        return format_html('<span class="gx-mono" title="{}">{}</span>', row.pk, cells.short(row.pk))

    @display(description="state")
    def state_badge(self, row: Any) -> SafeString:
        return cells.badge(row.state)

    @display(description="queued")
    def queued(self, row: Any) -> SafeString | str:
        return cells.ago(row.queued_at)

    @display(description="started")
    def started(self, row: Any) -> SafeString | str:
        return cells.ago(row.started_at)

    @display(description="finished")
    def finished(self, row: Any) -> SafeString | str:
        return cells.ago(row.finished_at)


class NamedApart(ChangeList):  # type: ignore[misc]  # unfold has no types
    """A list whose tenants' names are read once its rows are."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = _named([*self.result_list])


class ApartRecord(TenantsRecord):
    """Records of tenants that may lie in another database than the tenants' names do."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return OnRecord.get_queryset(self, request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NamedApart]:
        return NamedApart

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        return row and _named([row])[0]


def _named(rows: list[Any]) -> list[Any]:
    names = tenants.names_of({row.tenant_id for row in rows})
    for row in rows:
        row.tenant_name = names.get(row.tenant_id)
    return rows


def attempt(request: HttpRequest, act: Callable[[HttpRequest, Any], None], row: Any) -> bool:
    """Do an act, telling a refusal as a message; return whether it was done."""
    try:
        act(request, row)
    except (InvocationError, CanNeverFit) as refused:
        messages.error(request, str(refused))
        return False
    return True


def _bounds(term: str) -> tuple[UUID, UUID] | None:
    digits = term.replace("-", "")
    if not SHORTEST_PREFIX <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))

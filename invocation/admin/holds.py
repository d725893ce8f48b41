"""Holds of admission in the admin: adding one, ending one, and the record of all."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from invocation.admin import cells
from invocation.admin.contracts import AgentsView, EndpointsView
from invocation.admin.on_record import OnRecord, attempt
from invocation.domain.errors import StaleMove
from invocation.models import Hold
from invocation.models.admission import HoldScope
from invocation.selectors import standing
from invocation.services import holds


class HoldForm(forms.ModelForm[Hold]):
    """What to hold and why; a value that names nothing would hold nothing, and is refused."""

    class Meta:
        model = Hold
        fields = ("scope", "value", "reason")
        widgets = {
            "scope": UnfoldAdminSelectWidget(choices=[(scope.value, scope.value) for scope in HoldScope]),
            "value": UnfoldAdminTextInputWidget(),
            "reason": UnfoldAdminTextInputWidget(),
        }
        help_texts = {"value": "A label such as chat@1 or mangaassist@1, a tenant's name or id, or a class such as p3."}

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        scope, value = given.get("scope"), given.get("value")
        if scope and value:
            known = standing.value_of(HoldScope(scope), value)
            if known is None:
                raise ValidationError({"value": f"There is no {scope} called {value}."})
            given["value"] = known
        return given


def release(request: HttpRequest, row: Hold) -> None:
    holds.release(row.pk, by=request.user, now=timezone.now())
    messages.success(request, f"{row} is released: it is let in again from the next round on.")


@admin.register(Hold)
class HoldAdmin(OnRecord):
    form = HoldForm
    page_template = "admin/invocation/hold.html"
    list_display = ("held", "standing", "reason", "held_by", "when_held", "released_by", "when_released", "ending")
    list_filter = ("scope", ("released_at", admin.EmptyFieldListFilter))
    list_select_related = ("held_by", "released_by")
    actions = ("release_selected",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {"release": release}
        self.custom_urls = (
            ("endpoints/", "invocation_endpoints", EndpointsView.as_view(model_admin=self)),
            ("agents/", "invocation_agents", AgentsView.as_view(model_admin=self)),
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("invocation.add_hold"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            return cast(HttpResponse, self.changeform_view(request, None, form_url, extra_context))
        except StaleMove as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse("admin:invocation_hold_changelist"))

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:  # noqa: FBT001
        """Hold through the service; the page's own row only learns the key that it got."""
        obj.pk = holds.hold(HoldScope(obj.scope), obj.value, reason=obj.reason, by=request.user, now=timezone.now()).pk

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [(None, {"fields": ["scope", "value", "reason"]})]

    @admin.display(description="held")
    def held(self, row: Hold) -> str:
        return str(row)

    @admin.display(description="state")
    def standing(self, row: Hold) -> SafeString:
        return cells.badge("released") if row.released_at else cells.badge("held")

    @admin.display(description="held", ordering="held_at")
    def when_held(self, row: Hold) -> SafeString | str:
        return cells.ago(row.held_at)

    @admin.display(description="released", ordering="released_at")
    def when_released(self, row: Hold) -> SafeString | str:
        return cells.ago(row.released_at)

    @admin.display(description="release")
    def ending(self, row: Hold) -> SafeString | str:
        return cells.NONE if row.released_at else self.act_button(row, "release", text="Release")

    @admin.action(description="Release the selected holds", permissions=("act",))
    def release_selected(self, request: HttpRequest, queryset: QuerySet[Hold]) -> None:
        for row in queryset:
            attempt(request, release, row)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "standing": self.standing(row),
            "figures": [
                ("Reason", row.reason),
                ("Held by", row.held_by or "a command"),
                ("Held", cells.exact(row.held_at)),
                ("Released by", row.released_by or cells.NONE),
                ("Released", cells.exact(row.released_at) if row.released_at else cells.NONE),
            ],
            "release_address": "" if row.released_at else self.act_address(row, "release"),
        }

"""Prices in the admin: what holds for each model and who says so, and setting another from a moment on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from quota.admin import cells
from quota.admin.audited import Audited
from quota.domain.errors import QuotaError, UnknownPrice
from quota.domain.prices import PriceSource
from quota.models import ModelPrice
from quota.selectors.prices import models_in_use, overrides
from quota.services import prices

PRICES = ("input_usd", "output_usd", "cached_usd")
TONES = {PriceSource.OVERRIDE: "busy", PriceSource.TABLE: "good", PriceSource.OFFLINE: "calm"}
LATELY = timedelta(days=30)


class PriceForm(forms.ModelForm[ModelPrice]):
    """All three prices, or none to hand the model back to the table; from now, or from a moment ahead."""

    class Meta:
        model = ModelPrice
        fields = ("provider", "model", *PRICES, "valid_from", "reason")
        help_texts = {
            "provider": "As the ledger names it, such as openai.",
            "input_usd": "Leave all three prices empty to end an override: the published table holds again.",
            "cached_usd": "What a cached input token costs instead of the input price.",
            "valid_from": "UTC. Empty: from now. A price cannot reach back.",
            "reason": "Why; the record of changes keeps it.",
        }

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if "valid_from" in self.fields:
            self.fields["valid_from"].required = False

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if self.errors:
            return given
        self._check_whole(given)
        self._check_moment(given)
        if given["input_usd"] is None:
            self._check_that_the_table_knows(given)
        return given

    def _check_whole(self, given: dict[str, Any]) -> None:
        missing = [name for name in PRICES if given.get(name) is None]
        if 0 < len(missing) < len(PRICES):
            raise ValidationError(dict.fromkeys(missing, "Give all three prices, or none to hand the model back to the table."))

    def _check_moment(self, given: dict[str, Any]) -> None:
        """A moment that is past is refused; none is now."""
        now = timezone.now()
        given["valid_from"] = given.get("valid_from") or now
        if given["valid_from"] < now:
            raise ValidationError(
                {"valid_from": f"{cells.exact(given['valid_from'])} is past: calls were paid already. Leave it empty for now."}
            )

    def _check_that_the_table_knows(self, given: dict[str, Any]) -> None:
        try:
            prices.effective(given["provider"], given["model"], at=given["valid_from"], said={})
        except UnknownPrice:
            raise ValidationError(
                {"input_usd": "No published table knows this model: without a price its calls would be refused."}
            ) from None


@admin.register(ModelPrice)
class ModelPriceAdmin(Audited):
    """Prices are added and superseded; one that has not come into effect can be withdrawn."""

    form = PriceForm
    list_display = ("model_name", "standing", "three", "from_when", "set_by", "reason")
    list_filter = ("provider",)
    search_fields = ("provider", "model", "reason")
    list_before_template = "admin/quota/effective_prices.html"
    ordering = ("provider", "model", "-valid_from")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and (obj is None or obj.valid_from > timezone.now())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        now = timezone.now()
        prices.set_price(_at_the_earliest(obj, now), by=request.user.get_username(), now=now)
        messages.info(request, f"In every process within 5 s; calls pay by it from {cells.exact(obj.valid_from)} on.")

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        prices.withdraw(obj, by=request.user.get_username(), now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ModelPrice]) -> None:
        for row in queryset:
            try:
                self.delete_model(request, row)
            except QuotaError as refused:
                messages.error(request, str(refused))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        shown = {**(extra_context or {}), "effective": _effective()}
        return super().changelist_view(request, shown)  # type: ignore[no-any-return]

    @admin.display(description="model", ordering="model")
    def model_name(self, row: ModelPrice) -> str:
        return f"{row.provider}/{row.model}"

    @admin.display(description="state")
    def standing(self, row: ModelPrice) -> SafeString:
        now = timezone.now()
        if row.valid_from > now:
            return cells.badge("to come", tone="wary")
        last = ModelPrice.objects.filter(provider=row.provider, model=row.model, valid_from__lte=now).latest("valid_from")
        holds = "hands back to the table" if row.input_usd is None else "holds"
        return cells.badge(holds, tone="busy") if last.pk == row.pk else cells.badge("superseded")

    @admin.display(description="input / output / cached, USD per million")
    def three(self, row: ModelPrice) -> str:
        return " / ".join(
            cells.NONE if price is None else f"{price.normalize():f}" for price in (row.input_usd, row.output_usd, row.cached_usd)
        )

    @admin.display(description="from", ordering="valid_from")
    def from_when(self, row: ModelPrice) -> str:
        return cells.exact(row.valid_from)


def _at_the_earliest(row: ModelPrice, now: Any) -> ModelPrice:
    """A moment that passed while the form was checked is now."""
    row.valid_from = max(row.valid_from or now, now)
    return row


def _effective() -> list[dict[str, Any]]:
    """Return what holds now for each model that has a quota, an override or lately a call."""
    now, said = timezone.now(), overrides()
    return [_shown(provider, model, said, now) for provider, model in models_in_use(since=(now - LATELY).date())]


def _shown(provider: str, model: str, said: Any, now: Any) -> dict[str, Any]:
    to_come = [each for each in said.get((provider, model), ()) if each.valid_from > now]
    told = {"name": f"{provider}/{model}", "to_come": cells.exact(to_come[0].valid_from) if to_come else ""}
    try:
        found = prices.effective(provider, model, at=now, said=said)
    except UnknownPrice as unknown:
        return {**told, "source": cells.badge("unknown: calls are refused", tone="bad"), "why": str(unknown)}
    since = f"since {cells.exact(found.said.valid_from)}" if found.said and found.source is PriceSource.OVERRIDE else ""
    return {**told, "source": cells.badge(found.source, tone=TONES[found.source]), "price": found.price, "why": since}

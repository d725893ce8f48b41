"""Evals in the admin: scores to read, baselines to set with a reason, propose and accept, shares to choose."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from evals import selectors
from evals.domain.baselines import Origin
from evals.domain.errors import EvalsError
from evals.models import Baseline, BatchScoring, SamplingShare, Score, Unscored
from evals.services import baselines

ORIGIN_LABELS = {Origin.UNSET: "", Origin.IMPORTED: "info", Origin.PROPOSED: "warning", Origin.ACCEPTED: "success"}


class ReadOnly(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Rows that the product writes: nobody adds, changes or deletes them by hand."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


@admin.register(Score)
class ScoreAdmin(ReadOnly):
    """Above the list, each mode's mean stands beside its baseline."""

    list_before_template = "admin/evals/standings.html"
    list_display = ("at", "agent", "endpoint", "mode", "rubric_name", "total_bar")
    list_filter = ("mode", "agent", "at")
    search_fields = ("=run_id",)
    fields = ("run_id", "tenant_id", "agent", "endpoint", "mode", "rubric_name", "total_bar", "criteria_bars", "excerpt", "at")
    ordering = ("-pk",)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {**(extra_context or {}), "standings": selectors.by_mode()}
        return super().changelist_view(request, context)  # type: ignore[no-any-return]

    @display(description="rubric")  # type: ignore[untyped-decorator]
    def rubric_name(self, score: Score) -> str:
        return f"{score.rubric} v{score.rubric_version}"

    @display(description="score", ordering="total")  # type: ignore[untyped-decorator]
    def total_bar(self, score: Score) -> SafeString:
        return _bars({"": score.total})

    @display(description="criteria")  # type: ignore[untyped-decorator]
    def criteria_bars(self, score: Score) -> SafeString:
        return _bars(score.criteria)


@admin.register(Unscored)
class UnscoredAdmin(ReadOnly):
    list_display = ("at", "run_id", "endpoint", "reason")
    list_filter = ("endpoint", "at")
    search_fields = ("=run_id",)


@admin.register(BatchScoring)
class BatchScoringAdmin(ReadOnly):
    list_display = ("batch_id", "endpoint", "agent", "asked_at", "tries", "rows", "finished_at")
    list_filter = ("endpoint",)
    search_fields = ("=batch_id",)


class BaselineForm(forms.ModelForm[Baseline]):
    """A number that changes needs a reason, which the history keeps."""

    reason = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why the expected score changes. The history keeps it.",
    )

    class Meta:
        model = Baseline
        fields = ("agent", "rubric", "mode", "expected")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "expected" in self.changed_data and not cleaned.get("reason", "").strip():
            self.add_error("reason", "Say why the expected score changes.")
        self.instance.origin = Origin.UNSET if cleaned.get("expected") is None else Origin.IMPORTED
        self.instance.accepted_by = ""
        return cleaned


@admin.register(Baseline)
class BaselineAdmin(ModelAdmin):  # type: ignore[misc]
    form = BaselineForm
    list_display = ("agent", "rubric", "mode", "expected", "origin_label", "accepted_by", "at")
    list_filter = ("agent", "mode", "origin")
    fields = ("agent", "rubric", "mode", "expected", "reason", "origin", "accepted_by", "at")
    readonly_fields = ("origin", "accepted_by", "at")
    actions = ("propose", "accept")

    def get_readonly_fields(self, request: HttpRequest, obj: Baseline | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, *(("agent", "rubric", "mode") if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Baseline | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Baseline, form: BaselineForm, change: bool) -> None:  # noqa: FBT001
        if not change or "expected" in form.changed_data:
            baselines.set_by_hand(obj, form.cleaned_data["expected"], now=timezone.now())

    def construct_change_message(self, request: HttpRequest, form: BaselineForm, formsets: Any, add: bool = False) -> str:  # noqa: FBT001, FBT002
        if "expected" not in form.changed_data:
            return "Nothing was changed."
        return f"Expected {form.initial.get('expected')} → {form.cleaned_data['expected']}: {form.cleaned_data['reason']}"

    @display(description="origin", label=ORIGIN_LABELS)  # type: ignore[untyped-decorator]
    def origin_label(self, baseline: Baseline) -> str:
        return baseline.origin

    @action(description="Propose the mean of the scored runs", permissions=("change",))  # type: ignore[untyped-decorator]
    def propose(self, request: HttpRequest, queryset: QuerySet[Baseline]) -> None:
        for baseline in queryset:
            with _Telling(request):
                proposed = baselines.propose(baseline.pk, now=timezone.now())
                self._note(request, baseline, f"Proposed {proposed} from the scored runs.")

    @action(description="Accept what is proposed", permissions=("change",))  # type: ignore[untyped-decorator]
    def accept(self, request: HttpRequest, queryset: QuerySet[Baseline]) -> None:
        for baseline in queryset:
            with _Telling(request):
                baselines.accept(baseline.pk, by=str(request.user), now=timezone.now())
                self._note(request, baseline, f"Accepted {baseline.expected}.")

    def _note(self, request: HttpRequest, baseline: Baseline, sentence: str) -> None:
        self.log_change(request, baseline, sentence)
        messages.success(request, f"{baseline}: {sentence}")


class _Telling:
    """Tells a refusal to the person who clicked, and goes on."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, refusal: BaseException | None, _trace: object) -> bool:
        if isinstance(refusal, EvalsError):
            messages.error(self._request, str(refusal))
            return True
        return False


@admin.register(SamplingShare)
class SamplingShareAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("mode", "share")


def _bars(figures: dict[str, float]) -> SafeString:
    return mark_safe(render_to_string("admin/evals/bars.html", {"figures": figures}))  # noqa: S308  (the template escapes)

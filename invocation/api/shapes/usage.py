"""The shapes of what a tenant used."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from django.utils.dateparse import parse_date
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import LABEL, Moment, Text
from invocation.domain.modes import Mode
from quota.domain.classes import PriorityClass
from quota.domain.usage import OF_A_TENANT, Grouping

USUAL = (Grouping.DAY, Grouping.ENDPOINT, Grouping.MODE, Grouping.MODEL)
MOST = 1_000
FORMATS = ("json", "csv")
WORDS = ", ".join(OF_A_TENANT)
USUAL_WORDS = ",".join(USUAL)


@extend_schema_field({"type": "string"})
class MomentOrDay(Moment):
    """A moment with its offset, or a day: then its beginning in UTC."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            day = parse_date(data) if isinstance(data, str) else None
        except ValueError:
            day = None
        return datetime.combine(day, time(), tzinfo=UTC) if day else super().to_internal_value(data)


@extend_schema_field({"type": "string"})
class Groupings(serializers.Field[Any, Any, Any, Any]):
    """Several groupings, with commas between them."""

    def to_internal_value(self, data: Any) -> tuple[Grouping, ...]:
        words = [word.strip() for word in str(data).split(",")]
        unknown = [word for word in words if word not in OF_A_TENANT]
        if unknown:
            raise serializers.ValidationError(f"There is no grouping {unknown[0]!r}; there are {WORDS}.")
        if len(set(words)) < len(words):
            raise serializers.ValidationError("Each grouping once.")
        return tuple(map(Grouping, words))


class UsageQuery(Shape):
    since = MomentOrDay(required=False, help_text="A moment or a day (UTC). The day of thirty days ago, if left out.")
    until = MomentOrDay(required=False, help_text="A moment or a day (UTC), which itself is outside. Now, if left out.")
    group_by = Groupings(required=False, help_text=f"Any of {WORDS}, with commas. `{USUAL_WORDS}`, if left out.")
    endpoint = Text(required=False, **LABEL)
    mode = serializers.ChoiceField(required=False, choices=[str(mode) for mode in Mode])
    priority_class = serializers.ChoiceField(required=False, choices=[str(each) for each in PriorityClass])
    provider = Text(required=False, max_length=40)
    model = Text(required=False, max_length=120)
    cursor = Text(required=False, max_length=2_000, help_text="`next` of the page before.")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=MOST, default=MOST)
    format = serializers.ChoiceField(
        required=False, choices=FORMATS, help_text="`csv` is the whole selection as a table, as is `Accept: text/csv`."
    )


class UsageFigures(serializers.Serializer[Any]):
    calls = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField(help_text="Of the input tokens.")
    cost_usd = serializers.DecimalField(max_digits=20, decimal_places=6)
    estimated_calls = serializers.IntegerField(help_text="Calls whose tokens we counted, because the provider reported none.")
    estimated_usd = serializers.DecimalField(max_digits=20, decimal_places=6)


class UsageLine(UsageFigures):
    """One group; what was not grouped by is left out."""

    day = serializers.DateField(required=False)
    endpoint = serializers.CharField(required=False)
    mode = serializers.CharField(required=False)
    priority_class = serializers.CharField(required=False)
    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)


class UsageShape(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    group_by = serializers.ListField(child=serializers.CharField())
    cost_usd = serializers.DecimalField(max_digits=20, decimal_places=6, help_text="Of all pages, as is `totals`.")
    totals = UsageFigures()
    items = UsageLine(many=True)
    next = serializers.CharField(allow_null=True)

"""The shapes of what a tenant may use, and ran."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.shapes.fields import LABEL, DownshiftShape, PageQuery, Text
from invocation.domain.modes import Mode
from quota.domain.classes import PriorityClass


class ClassUse(serializers.Serializer[Any]):
    priority_class = serializers.ChoiceField(choices=[str(each) for each in PriorityClass])
    in_flight = serializers.IntegerField()
    cap = serializers.IntegerField(allow_null=True, help_text="null is no cap.")


class MoneyUse(serializers.Serializer[Any]):
    limit = serializers.DecimalField(max_digits=12, decimal_places=2, allow_null=True, help_text="null is no limit.")
    used = serializers.DecimalField(max_digits=14, decimal_places=6)


class TokenUse(serializers.Serializer[Any]):
    limit = serializers.IntegerField(allow_null=True, help_text="null is no limit.")
    used = serializers.IntegerField()


class DayUse(serializers.Serializer[Any]):
    """The UTC day: what is used of it, calls under way included."""

    date = serializers.DateField()
    ends_at = serializers.DateTimeField()
    usd = MoneyUse()
    tokens = TokenUse()


class StreamUse(serializers.Serializer[Any]):
    """Streams (WebSockets and Server-Sent Events) at once, over all web processes."""

    limit = serializers.IntegerField(allow_null=True, help_text="null is no limit.")
    open = serializers.IntegerField(allow_null=True, help_text="null while the count cannot be read.")


class QuotaShape(serializers.Serializer[Any]):
    """The plan, and what of it is in use."""

    tenant = serializers.CharField()
    plan = serializers.CharField()
    weight = serializers.IntegerField()
    requests_per_minute = serializers.IntegerField()
    requests_left = serializers.IntegerField()
    scopes = serializers.ListField(child=serializers.CharField())
    highest_class = serializers.ChoiceField(choices=[str(each) for each in PriorityClass])
    day = DayUse()
    streams = StreamUse()
    classes = ClassUse(many=True)


class RunQuery(PageQuery):
    mode = serializers.ChoiceField(required=False, choices=[str(mode) for mode in Mode])
    endpoint = Text(required=False, **LABEL)
    outcome = Text(required=False, max_length=16)
    source_id = serializers.UUIDField(required=False, help_text="The job, turn or batch that was run.")


class RunShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    endpoint = serializers.CharField()
    agent = serializers.CharField()
    mode = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # DRF takes declared fields off the class
    source_id = serializers.UUIDField()
    attempt = serializers.IntegerField()
    outcome = serializers.CharField()
    error_code = serializers.CharField()
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()
    waited_ms = serializers.IntegerField()
    first_delta_ms = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField()
    models_used = serializers.ListField(child=serializers.CharField())
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    downshifts = serializers.SerializerMethodField()
    traceparent = serializers.CharField()

    @extend_schema_field(DownshiftShape(many=True))
    def get_downshifts(self, run: Any) -> list[dict[str, str]]:
        return run.downshifts or []


class RunPage(serializers.Serializer[Any]):
    items = RunShape(many=True)
    next = serializers.CharField(allow_null=True)

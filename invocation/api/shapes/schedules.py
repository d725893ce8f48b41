"""The shapes of schedules and their firings."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import LABEL, Budget, JsonObject, Text
from invocation.domain.schedules import FiringState


class ScheduleBody(Shape):
    """When (a cron expression in a time zone), what (an endpoint) and with what input."""

    name = Text(max_length=120)
    endpoint = Text(**LABEL)
    cron = Text(max_length=120)
    timezone = Text(required=False, max_length=64, default="UTC")
    input = JsonObject()
    budget = Budget(required=False, help_text="What each run may spend, below the endpoint's own ceiling.")


class ScheduleChange(Shape):
    """The fields to change; the others stay."""

    name = Text(required=False, max_length=120)
    endpoint = Text(required=False, **LABEL)
    cron = Text(required=False, max_length=120)
    timezone = Text(required=False, max_length=64)
    input = JsonObject(required=False)
    budget = Budget(required=False)


class ScheduleShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    endpoint = serializers.CharField()
    cron = serializers.CharField()
    timezone = serializers.CharField()
    input = JsonObject()
    budget = serializers.SerializerMethodField()
    is_paused = serializers.BooleanField()
    next_fire_at = serializers.DateTimeField()
    last_fired_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()

    @extend_schema_field(Budget(allow_null=True))
    def get_budget(self, schedule: Any) -> dict[str, Any] | None:
        return budget_of(schedule)


def budget_of(schedule: Any) -> dict[str, Any] | None:
    """Return what was wished for, as it was said; null where nothing was."""
    usd = None if schedule.cost_usd is None else f"{schedule.cost_usd:f}"
    told = {"cost_usd": usd, "tokens": schedule.tokens, "model_calls": schedule.model_calls}
    return {name: value for name, value in told.items() if value is not None} or None


class SchedulePage(serializers.Serializer[Any]):
    items = ScheduleShape(many=True)
    next = serializers.CharField(allow_null=True)


class FiringShape(serializers.Serializer[Any]):
    due_at = serializers.DateTimeField()
    fired_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(choices=[str(state) for state in FiringState])
    job = serializers.UUIDField(source="job_id")


class FiringPage(serializers.Serializer[Any]):
    items = FiringShape(many=True)
    next = serializers.CharField(allow_null=True)

"""The shapes of schedules and their firings."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import LABEL, JsonObject, Text
from invocation.domain.schedules import FiringState


class ScheduleBody(Shape):
    """When (a cron expression in a time zone), what (an endpoint) and with what input."""

    name = Text(max_length=120)
    endpoint = Text(**LABEL)
    cron = Text(max_length=120)
    timezone = Text(required=False, max_length=64, default="UTC")
    input = JsonObject()


class ScheduleChange(Shape):
    """The fields to change; the others stay."""

    name = Text(required=False, max_length=120)
    endpoint = Text(required=False, **LABEL)
    cron = Text(required=False, max_length=120)
    timezone = Text(required=False, max_length=64)
    input = JsonObject(required=False)


class ScheduleShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    endpoint = serializers.CharField()
    cron = serializers.CharField()
    timezone = serializers.CharField()
    input = JsonObject()
    is_paused = serializers.BooleanField()
    next_fire_at = serializers.DateTimeField()
    last_fired_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


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

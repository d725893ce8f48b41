"""Fields that several shapes share."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.cursors import MOST, USUAL
from invocation.domain.budgets import Wish
from invocation.domain.jobs import without_broke
from invocation.domain.redrives import AgentChoice

MOST_OF_A_BUDGET = 10**15
LABEL: dict[str, Any] = {"max_length": 120, "help_text": "An endpoint's label: `name@version`."}


@extend_schema_field({"type": "object", "additionalProperties": True})
class JsonObject(serializers.JSONField):
    """Any JSON object."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError(f"One JSON object is wanted, not a {type(data).__name__}.")
        return data


@extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
class MaybeJsonObject(serializers.JSONField):
    """A JSON object or null, as an answer shows it."""


@extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
class Told(serializers.JSONField):
    """A stored JSON object or null, without what is for operators alone."""

    def to_representation(self, value: Any) -> Any:
        return without_broke(value)


@extend_schema_field({})
class AnyJson(serializers.JSONField):
    """Any JSON value."""


class Text(serializers.CharField):
    """A string; DRF's own field also takes numbers, which the contract does not."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError(f"A string is wanted, not a {type(data).__name__}.")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """A whole number; DRF's own field also takes strings, which the contract does not."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            raise serializers.ValidationError(f"A whole number is wanted, not a {type(data).__name__}.")
        return super().to_internal_value(data)


class Number(serializers.FloatField):
    """A number; DRF's own field also takes strings and booleans, which the contract does not."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            raise serializers.ValidationError(f"A number is wanted, not a {type(data).__name__}.")
        return super().to_internal_value(data)


class Metadata(serializers.DictField):
    """At most 16 short strings by name."""

    child = Text(max_length=500, allow_blank=True)

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if len(value) > 16 or any(len(name) > 64 for name in value):
            raise serializers.ValidationError("At most 16 entries, with names of at most 64 characters.")
        return value


class Moment(serializers.DateTimeField):
    """A moment with its offset; one without is refused, not guessed."""

    def enforce_timezone(self, value: Any) -> Any:
        if timezone.is_naive(value):
            raise serializers.ValidationError("A moment needs its offset, such as 2026-11-20T09:00:00Z.")
        return super().enforce_timezone(value)


class AgentChosen(serializers.ChoiceField):
    """Which agent version runs what is redriven."""

    def __init__(self, **terms: Any) -> None:
        told = "`original` is the version that the old job pinned, `current` the endpoint's own of today."
        super().__init__(choices=[str(choice) for choice in AgentChoice], help_text=told, **terms)


class Budget(Shape):
    """What the invocation may spend; never more than the endpoint's own ceiling."""

    cost_usd = serializers.DecimalField(required=False, max_digits=12, decimal_places=6, min_value=Decimal("0.000001"))
    tokens = Whole(required=False, min_value=1, max_value=MOST_OF_A_BUDGET, help_text="Of all model calls, questions and answers.")
    model_calls = Whole(required=False, min_value=1, max_value=MOST_OF_A_BUDGET, help_text="How many models it may ask.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Name at least one of cost_usd, tokens and model_calls.")
        return attrs


def wish_of(told: Mapping[str, Any]) -> Wish:
    """Return what a body's `budget` asks to be bound by."""
    return Wish(**(told.get("budget") or {}))


class DownshiftShape(serializers.Serializer[Any]):
    """A model call that was stepped down from one tier to another, and why: `cost`, `latency` or `quota`."""

    def get_fields(self) -> dict[str, Any]:
        return {name: serializers.CharField() for name in ("from", "to", "reason")}


class PageQuery(Shape):
    """Where a list goes on, and how much of it."""

    cursor = Text(required=False, max_length=2_000, help_text="`next` of the page before.")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=MOST, default=USUAL)


class AfterQuery(Shape):
    """Where a stream goes on. A `Last-Event-ID` header says the same and wins."""

    after = serializers.IntegerField(required=False, min_value=0, max_value=2**53, help_text="The last seq that was seen.")


class PlacedEvent(serializers.Serializer[Any]):
    """One event object, the same over SSE and WebSocket."""

    seq = serializers.IntegerField()
    type = serializers.CharField()
    at = serializers.DateTimeField()
    data = JsonObject()  # type: ignore[assignment]  # DRF takes declared fields off the class

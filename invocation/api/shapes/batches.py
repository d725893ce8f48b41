"""The shapes of batches: what an opening brings, and what is told of a batch."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import LABEL, Budget, JsonObject, MaybeJsonObject, PageQuery, Text, Whole
from invocation.domain.batches import BatchState, ShardState

STATES = [str(state) for state in BatchState]


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "description": "A path below the tenant's folder in the object store (JSON Lines)."},
            {
                "type": "object",
                "properties": {"rows": {"type": "array", "items": {"type": "object", "additionalProperties": True}}},
                "required": ["rows"],
                "additionalProperties": False,
            },
        ]
    }
)
class Manifest(serializers.JSONField):
    """A path, or the rows themselves."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str) and 0 < len(data) <= 1_000:
            return data
        if isinstance(data, dict) and set(data) == {"rows"} and isinstance(data["rows"], list) and data["rows"]:
            return data
        raise serializers.ValidationError('Give a path below your folder of the object store, or {"rows": [{…}, …]}.')


class BatchBody(Shape):
    """A batch: each row of the manifest must fit the endpoint's input schema; `row_id` is its optional name."""

    endpoint = Text(**LABEL)
    manifest = Manifest()
    shards = Whole(required=False, min_value=1, max_value=256)
    budget = Budget(required=False)


class BatchQuery(PageQuery):
    state = serializers.ChoiceField(required=False, choices=STATES)
    endpoint = Text(required=False, **LABEL)


class BatchLinks(serializers.Serializer[Any]):
    self = serializers.CharField()
    shards = serializers.CharField()
    results = serializers.CharField()
    cancel = serializers.CharField()


class BatchShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=STATES)
    endpoint = serializers.CharField()
    agent = serializers.CharField()
    mode = serializers.CharField()
    rows = serializers.IntegerField()
    manifest_sha256 = serializers.CharField()
    cost_cap_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    token_cap = serializers.IntegerField()
    call_cap = serializers.IntegerField()
    traceparent = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    fault = MaybeJsonObject()


class ProgressShape(serializers.Serializer[Any]):
    rows_done = serializers.IntegerField()
    rows_failed = serializers.IntegerField()
    shards = serializers.DictField(child=serializers.IntegerField(), help_text="How many shards are in each state.")
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    model_calls = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    rate = serializers.FloatField(allow_null=True, help_text="Rows a second since the start.")
    eta_s = serializers.FloatField(allow_null=True)


class BatchDetail(BatchShape):
    """A batch with how far it is."""

    progress = ProgressShape()
    links = BatchLinks()


class BatchPage(serializers.Serializer[Any]):
    items = BatchShape(many=True)
    next = serializers.CharField(allow_null=True)


class ShardShape(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    state = serializers.ChoiceField(choices=[str(state) for state in ShardState])
    first_line = serializers.IntegerField()
    rows = serializers.IntegerField()
    position = serializers.IntegerField()
    failed_rows = serializers.IntegerField()
    attempt = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class ShardList(serializers.Serializer[Any]):
    items = ShardShape(many=True)


class DatasetShape(serializers.Serializer[Any]):
    """Where the finished dataset lies, below the tenant's folder of the object store, and what its manifest says."""

    id = serializers.UUIDField()
    location = serializers.CharField()
    manifest = JsonObject()


def links(batch_id: object) -> dict[str, str]:
    place = f"/v1/batches/{batch_id}"
    return {"self": place} | {name: f"{place}/{name}" for name in ("shards", "results", "cancel")}

"""The shapes of batches: what an opening brings, and what is told of a batch."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import LABEL, Budget, JsonObject, Moment, Number, PageQuery, Text, Told, Whole
from invocation.domain.batches import BatchState, Pause, Publication, ShardState
from invocation.domain.forecasts import Misfit
from invocation.domain.manifests import Format
from invocation.domain.partitions import MOST_COLUMNS
from invocation.domain.windows import Window, WindowInvalid, window_of
from invocation.models import CatalogTable
from invocation.services.datasets import place_in

STATES = [str(state) for state in BatchState]
FORMATS = [str(form) for form in Format]
MOST_PATH = 1_000
MOST_NAME = 200
PLACE = "A path below the tenant's folder in the object store, or an s3://bucket/key granted to the tenant"
NAMES_ROWS = {"type": "string", "minLength": 1, "maxLength": MOST_NAME, "description": "The field that names each row, instead of row_id."}
ROWS = {"type": "array", "minItems": 1, "items": {"type": "object", "additionalProperties": True}}


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "minLength": 1, "maxLength": MOST_PATH, "description": f"{PLACE}; its extension says the format."},
            {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "minLength": 1, "maxLength": MOST_PATH, "description": f"{PLACE}."},
                    "format": {"type": "string", "enum": FORMATS, "description": "Where the extension does not say it."},
                    "row_id": NAMES_ROWS,
                },
                "required": ["path"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"rows": ROWS, "row_id": NAMES_ROWS},
                "required": ["rows"],
                "additionalProperties": False,
            },
        ]
    }
)
class Manifest(serializers.JSONField):
    """A file, or the rows themselves. A path alone is `{"path": …}`."""

    def to_internal_value(self, data: Any) -> Any:
        told = {"path": data} if isinstance(data, str) else data
        if not isinstance(told, dict) or not (_is_file(told) or _is_rows(told)):
            raise serializers.ValidationError(
                'Give a path below your folder of the object store, {"path": …, "format": …, "row_id": …},'
                ' or {"rows": [{…}, …], "row_id": …}.'
            )
        for name, fits in (("format", FORMATS.__contains__), ("row_id", _is_name)):
            if name in told and not fits(told[name]):
                wanted = f"one of {', '.join(FORMATS)}" if name == "format" else "a column's name"
                raise serializers.ValidationError({name: f"Say {wanted}."})
        return told


def _is_file(told: dict[str, Any]) -> bool:
    path = told.get("path")
    return {"path"} <= set(told) <= {"path", "format", "row_id"} and isinstance(path, str) and 0 < len(path) <= MOST_PATH


def _is_rows(told: dict[str, Any]) -> bool:
    rows = told.get("rows")
    return {"rows"} <= set(told) <= {"rows", "row_id"} and isinstance(rows, list) and bool(rows)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MOST_NAME and name.isprintable()


class WindowBody(Shape):
    """From one time of the day to another on a zone's clocks, every day; over midnight where the end is not after the start."""

    start = Text(max_length=5, help_text="HH:MM")
    end = Text(max_length=5, help_text="HH:MM")
    zone = Text(max_length=64, help_text="A time zone of the IANA database, such as Europe/Berlin.")

    def validate(self, attrs: dict[str, Any]) -> Window:
        try:
            return window_of(attrs)
        except WindowInvalid as wrong:
            raise serializers.ValidationError({wrong.field: str(wrong)}) from None


class Failures(Shape):
    """From how many failed rows on a batch is paused, once `least` rows have ended."""

    share = Number(required=False, min_value=0, max_value=1, allow_null=True, help_text="0.2 if not given; null never.")
    count = Whole(required=False, min_value=1)
    least = Whole(required=False, min_value=1, help_text="100 if not given.")


class BatchResumption(Shape):
    budget = Budget(required=False)


class Output(Shape):
    """Where the dataset goes, and how its results are parted."""

    uri = Text(
        required=False,
        max_length=900,
        help_text="Below the tenant's folder, or an s3://bucket/prefix granted for writing; the dataset gets a folder of its own in it.",
    )
    partition_by = serializers.ListField(
        child=Text(max_length=120),
        required=False,
        min_length=1,
        max_length=MOST_COLUMNS,
        help_text="Columns with few values: plain ones of the output, `agent` or `model`.",
    )


class BatchBody(Shape):
    """A batch: each row of the manifest must fit the endpoint's input schema; its field `row_id`, or another that is said, is its name."""

    endpoint = Text(**LABEL)
    manifest = Manifest()
    shards = Whole(required=False, min_value=1, max_value=256)
    budget = Budget(required=False)
    window = WindowBody(
        required=False, allow_null=True, help_text="When it may run; the endpoint's own if none is said, null: at any time."
    )
    finish_by = Moment(required=False, help_text="By when it should be done: a warning tells when it will not.")
    failures = Failures(required=False)
    output = Output(required=False)


class BatchQuery(PageQuery):
    state = serializers.ChoiceField(required=False, choices=STATES)
    endpoint = Text(required=False, **LABEL)


class BatchLinks(serializers.Serializer[Any]):
    self = serializers.CharField()
    shards = serializers.CharField()
    results = serializers.CharField()
    cancel = serializers.CharField()
    pause = serializers.CharField()
    resume = serializers.CharField()
    retry_failed = serializers.CharField()


class WindowShape(serializers.Serializer[Any]):
    start = serializers.CharField()
    end = serializers.CharField()
    zone = serializers.CharField()


class PauseShape(serializers.Serializer[Any]):
    code = serializers.ChoiceField(choices=[str(code) for code in Pause])
    sentence = serializers.CharField()
    at = serializers.DateTimeField()


class ScoresShape(serializers.Serializer[Any]):
    """What the scores said of a completed dataset. Without an accepted baseline it is neither published nor held, as the sentence says."""

    sentence = serializers.CharField()
    rows = serializers.IntegerField(help_text="How many were scored.")
    mean = serializers.FloatField(allow_null=True)
    expected = serializers.FloatField(allow_null=True)
    at = serializers.DateTimeField()


class BatchShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=STATES)
    endpoint = serializers.CharField()
    agent = serializers.CharField()
    mode = serializers.CharField()
    rows = serializers.IntegerField()
    manifest_format = serializers.ChoiceField(choices=FORMATS)
    manifest_bytes = serializers.IntegerField(allow_null=True)
    manifest_sha256 = serializers.CharField(help_text="Of the file; empty until it was read.")
    planning = Told(
        help_text="While a worker reads the manifest: `rows_read` of `rows` (null while they are counted), `bytes_read` of `bytes`."
    )
    cost_cap_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    token_cap = serializers.IntegerField()
    call_cap = serializers.IntegerField()
    traceparent = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    fault = Told()
    gathering = Told(help_text="What went wrong when its dataset was last written, until that is done; tried again by itself.")
    round = serializers.IntegerField(help_text="How often its failed rows were asked to run again.")
    pause = PauseShape(allow_null=True, help_text="Why it waits, while it is paused.")
    window = WindowShape(allow_null=True)
    finish_by = serializers.DateTimeField(allow_null=True)
    publication = serializers.ChoiceField(
        choices=[str(each) for each in Publication], help_text="Empty until its scores have decided: it is only completed."
    )
    scores = ScoresShape(allow_null=True)


class WarningShape(serializers.Serializer[Any]):
    """Why a batch will not be done in time: before its `window` closes, or by its `finish_by`."""

    code = serializers.ChoiceField(choices=[str(code) for code in Misfit])
    sentence = serializers.CharField()


class CauseShape(serializers.Serializer[Any]):
    """An error's code, how many rows failed with it, and the newest of them."""

    code = serializers.CharField()
    count = serializers.IntegerField()
    row_id = serializers.CharField(allow_null=True)
    shard = serializers.IntegerField(allow_null=True)
    at = serializers.DateTimeField(allow_null=True)


class ProgressShape(serializers.Serializer[Any]):
    rows_done = serializers.IntegerField(help_text="Rows at their end, failed ones included.")
    rows_failed = serializers.IntegerField()
    rows_left = serializers.IntegerField(help_text="Rows still to run, those that are retried included.")
    shards = serializers.DictField(child=serializers.IntegerField(), help_text="How many shards are in each state.")
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    model_calls = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    cost_predicted_usd = serializers.DecimalField(
        max_digits=20, decimal_places=6, allow_null=True, help_text="Of all rows, if those left cost what the finished ones did."
    )
    rate = serializers.FloatField(allow_null=True, help_text="Rows a second in the last minute in which some ended.")
    eta_s = serializers.FloatField(allow_null=True, help_text="Seconds of work left at that rate, without the time between windows.")
    finish_at = serializers.DateTimeField(allow_null=True, help_text="When it will be done at that rate, through the windows ahead.")
    is_open = serializers.BooleanField(help_text="Whether its window is open now; true where it has none.")
    opens_at = serializers.DateTimeField(allow_null=True, help_text="Of the window that is open, or comes next.")
    closes_at = serializers.DateTimeField(allow_null=True)
    warnings = WarningShape(many=True)
    errors = CauseShape(many=True, source="causes", help_text="The ten most frequent codes.")  # type: ignore[assignment]


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
    position = serializers.IntegerField(help_text="All rows before it are at their end.")
    done = serializers.IntegerField(help_text="Rows at their end, those behind the position included.")
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
    """Where the finished dataset lies, and what its manifest says; what was finished of a batch that ended early is `partial`."""

    id = serializers.UUIDField()
    location = serializers.CharField(help_text="A path below the tenant's folder of the object store, or an s3://bucket/prefix.")
    manifest = JsonObject()


class TableShape(serializers.Serializer[Any]):
    """A table of the catalog: a dataset's results, or its errors."""

    name = serializers.CharField()
    batch = serializers.UUIDField(source="batch_id")
    endpoint = serializers.CharField()
    location = serializers.CharField(help_text="A path below the tenant's part of the object store, or the location outside of it.")
    columns = serializers.ListField(child=JsonObject(), help_text="Name and type of each, in the words of Hive.")
    partition_by = serializers.ListField(child=serializers.CharField())
    partitions = serializers.ListField(child=JsonObject(), help_text="Values and location of each.")
    rows = serializers.IntegerField()
    bytes = serializers.IntegerField()
    registered_at = serializers.DateTimeField()

    def to_representation(self, instance: CatalogTable) -> dict[str, Any]:
        told: dict[str, Any] = super().to_representation(instance)
        partitions = [{**each, "location": place_in(instance.tenant_id, each["location"])} for each in told["partitions"]]
        return {**told, "location": place_in(instance.tenant_id, told["location"]), "partitions": partitions}


class TablePage(serializers.Serializer[Any]):
    items = TableShape(many=True)
    next = serializers.CharField(allow_null=True)


class TableQuery(PageQuery):
    endpoint = Text(required=False, **LABEL)
    batch = serializers.UUIDField(required=False)


def links(batch_id: object) -> dict[str, str]:
    place = f"/v1/batches/{batch_id}"
    acts = {name: f"{place}/{name}" for name in ("shards", "results", "cancel", "pause", "resume")}
    return {"self": place, **acts, "retry_failed": f"{place}/retry-failed"}

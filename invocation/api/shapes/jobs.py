"""The shapes of jobs: what a submission brings, and what is told of a job."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.contexts import ContextBody, NamedContext, RelevanceShape
from invocation.api.shapes.fields import (
    LABEL,
    AgentChosen,
    AnyJson,
    Budget,
    DownshiftShape,
    JsonObject,
    MaybeJsonObject,
    Metadata,
    Moment,
    PageQuery,
    Text,
)
from invocation.domain.jobs import JobState, OrderingPolicy

STATES = [str(state) for state in JobState]
ORDERINGS = [str(policy) for policy in OrderingPolicy]


class JobBody(Shape):
    """A submission. `input` must fit the endpoint's input schema."""

    endpoint = Text(**LABEL)
    input = JsonObject(help_text="Fits the endpoint's input schema.")
    subject = Text(required=False, max_length=200, help_text="Whom it is about; results are deleted by it.")
    locale = Text(required=False, max_length=16, help_text="A language tag; `en` if left out.")
    metadata = Metadata(required=False, help_text="Short strings of your own, by name; the agent sees them.")
    ordering_key = Text(required=False, max_length=200, help_text="Jobs with the same key run one after another.")
    ordering_policy = serializers.ChoiceField(
        required=False, choices=ORDERINGS, help_text="What is done while a job of the key is open; `enqueue` if left out."
    )
    context = ContextBody(required=False)  # type: ignore[assignment]  # DRF takes declared fields off the class
    webhook = serializers.UUIDField(required=False, help_text="One of your webhooks: it alone is told of this job.")
    budget = Budget(required=False, help_text="What it may spend, below the endpoint's own ceiling.")
    expires_at = Moment(required=False, help_text="Nobody wants it any more after this moment.")


class JobQuery(PageQuery):
    state = serializers.ChoiceField(required=False, choices=STATES)
    endpoint = Text(required=False, **LABEL)


class ResultQuery(Shape):
    withheld = serializers.ChoiceField(
        required=False, choices=["show"], help_text="`show` hands out a result that came too late for its context."
    )


class CancelBody(Shape):
    reason = Text(required=False, max_length=64)


class AnswerBody(Shape):
    """Answers by their questions' keys, one or several; or one answer as `key` and `value`."""

    answers = JsonObject(required=False, help_text="The answers by key. What is missing may follow in another call.")
    key = Text(required=False, max_length=120, help_text="The key of a single answer.")
    value = AnyJson(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("answers")) == ("key" in attrs):
            raise serializers.ValidationError({"answers": "Give answers by key, or one key with its value."})
        if "key" in attrs and "value" not in attrs:
            raise serializers.ValidationError({"value": "This field is required."})
        return attrs


class RedriveBody(Shape):
    input = JsonObject(required=False)
    agent = AgentChosen(required=False)


class JobLinks(serializers.Serializer[Any]):
    self = serializers.CharField()
    result = serializers.CharField()
    events = serializers.CharField()
    journal = serializers.CharField()
    cancel = serializers.CharField()


class AcceptedJob(serializers.Serializer[Any]):
    """What the 202 says. A replay says the same of the first call's job; `state` is the state at acceptance."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=STATES)
    endpoint = serializers.CharField()
    queue_position = serializers.IntegerField(allow_null=True, help_text="1 is next; 1000 is a thousand or more.")
    eta_s = serializers.FloatField(allow_null=True, help_text="Seconds, from measured rates; null while nothing was measured.")
    created_at = serializers.DateTimeField()
    links = JobLinks()


class JobShape(serializers.Serializer[Any]):
    """A job as it stands."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=STATES)
    reason = serializers.CharField()
    endpoint = serializers.CharField()
    agent = serializers.CharField()
    mode = serializers.CharField()
    subject = serializers.CharField()
    locale = serializers.CharField()
    metadata = serializers.DictField(child=serializers.CharField())
    ordering_key = serializers.CharField(allow_null=True)
    parent = serializers.UUIDField(allow_null=True, source="parent_id", help_text="Who spawned it.")  # type: ignore[assignment]
    root = serializers.UUIDField(allow_null=True, source="root_id", help_text="The first above it.")  # type: ignore[assignment]
    depth = serializers.IntegerField()
    context = serializers.SerializerMethodField()  # type: ignore[assignment]
    webhook = serializers.UUIDField(allow_null=True, source="webhook_id")
    attempt = serializers.IntegerField()
    failures = serializers.IntegerField()
    losses = serializers.IntegerField()
    progress = MaybeJsonObject()
    questions = MaybeJsonObject()
    error = MaybeJsonObject()
    latency_budget_ms = serializers.IntegerField()
    cost_cap_usd = serializers.DecimalField(max_digits=12, decimal_places=6)
    spent_usd = serializers.DecimalField(max_digits=12, decimal_places=6)
    token_cap = serializers.IntegerField()
    spent_tokens = serializers.IntegerField()
    call_cap = serializers.IntegerField()
    spent_calls = serializers.IntegerField(help_text="Model calls, its children's included.")
    traceparent = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    last_seq = serializers.IntegerField(source="event_seq", help_text="The seq of the job's newest event.")

    @extend_schema_field(NamedContext(allow_null=True))
    def get_context(self, job: Any) -> dict[str, Any] | None:
        if job.context_key is None:
            return None
        return {"key": job.context_key, "version": job.context_version, "policy": job.relevance}


class JobDetail(JobShape):
    """A job with its place in the queue and its kin."""

    downshifts = DownshiftShape(many=True, help_text="Calls that a cheaper tier answered, over all attempts.")
    input = JsonObject()
    awaiting = MaybeJsonObject(help_text="What a waiting job waits for: `callback` with its `url`, or `children` by id.")
    due_at = serializers.DateTimeField(allow_null=True, help_text="When a parked job goes on in any case.")
    queue_position = serializers.IntegerField(allow_null=True)
    eta_s = serializers.FloatField(allow_null=True)
    redrive_of = serializers.UUIDField(allow_null=True, source="redrive_of_id")
    redriven_as = serializers.UUIDField(allow_null=True)
    relevance = RelevanceShape(allow_null=True, help_text="Null without a context, and where it is delivered whatever the version.")
    links = JobLinks()


class JobPage(serializers.Serializer[Any]):
    items = JobShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The next page's cursor; null on the last.")


class ResultShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    endpoint = serializers.CharField()
    output = JsonObject(help_text="Fits the endpoint's output schema.")
    at = serializers.DateTimeField()
    relevance = RelevanceShape(allow_null=True)


class StepShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    occurrence = serializers.IntegerField()
    attempt = serializers.IntegerField()
    at = serializers.DateTimeField()
    result = AnyJson(allow_null=True)


class JournalShape(serializers.Serializer[Any]):
    """The finished steps, in order: what a later attempt does not repeat."""

    items = StepShape(many=True)


def links(job_id: object) -> dict[str, str]:
    place = f"/v1/jobs/{job_id}"
    return {"self": place} | {name: f"{place}/{name}" for name in ("result", "events", "journal", "cancel")}

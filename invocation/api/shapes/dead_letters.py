"""The shapes of dead letters and redrives: filters, what a redrive is asked to do, and how far it is."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from agents.domain.errors import Cause
from invocation.api.bodies import Shape
from invocation.api.shapes.fields import LABEL, AgentChosen, JsonObject, MaybeJsonObject, Moment, Number, PageQuery, Text
from invocation.domain.redrives import LEAST_RATE, MOST_IDS, MOST_RATE, MOST_REASON, USUAL_RATE, AgentChoice, RedriveState
from invocation.selectors.dead_letters import DISCARDED, OPEN, REDRIVEN

STANDINGS = [OPEN, REDRIVEN, DISCARDED]
CAUSES = [str(cause) for cause in Cause]


class DeadLetterFilter(Shape):
    """Which dead letters are meant. What is left out narrows nothing."""

    endpoint = Text(required=False, **LABEL)
    cause = serializers.ChoiceField(required=False, choices=CAUSES)
    code = Text(required=False, max_length=64, help_text="The error's code.")
    failed_after = Moment(required=False)
    failed_before = Moment(required=False)


class DeadLetterQuery(PageQuery, DeadLetterFilter):
    standing = serializers.ChoiceField(required=False, choices=STANDINGS, default=OPEN)


class Ids(serializers.ListField):
    """Ids of dead letters, each once."""

    child = serializers.UUIDField()


class RedriveManyBody(Shape):
    """Either `ids` or `filter`; an empty filter means every open dead letter."""

    ids = Ids(required=False, min_length=1, max_length=MOST_IDS)
    filter = DeadLetterFilter(required=False)
    rate = Number(required=False, min_value=LEAST_RATE, max_value=MOST_RATE, default=USUAL_RATE, help_text="Jobs a second.")
    input_patch = JsonObject(required=False, help_text="A JSON merge patch (RFC 7396) of every input.")
    agent = AgentChosen(required=False, default=str(AgentChoice.ORIGINAL))
    reason = Text(max_length=MOST_REASON)


class DiscardManyBody(Shape):
    ids = Ids(min_length=1, max_length=MOST_IDS)
    reason = Text(max_length=MOST_REASON)


class EmptyBody(Shape):
    """Nothing needs to be said."""


class FailedJobShape(serializers.Serializer[Any]):
    """What is told of the failed job itself."""

    id = serializers.UUIDField()
    endpoint = serializers.CharField()
    agent = serializers.CharField()
    subject = serializers.CharField()
    cause = serializers.ChoiceField(choices=CAUSES)
    error = MaybeJsonObject()
    attempt = serializers.IntegerField()
    failures = serializers.IntegerField()
    losses = serializers.IntegerField()
    spent_usd = serializers.DecimalField(max_digits=12, decimal_places=6)
    created_at = serializers.DateTimeField()
    failed_at = serializers.DateTimeField(source="finished_at")


class DeadLetterShape(FailedJobShape):
    """A job that will not be tried again by itself, and what was done about it."""

    standing = serializers.ChoiceField(choices=STANDINGS)
    redriven_as = serializers.UUIDField(allow_null=True)
    discard_reason = serializers.CharField(allow_null=True)


class DeadLetterPage(serializers.Serializer[Any]):
    items = DeadLetterShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The next page's cursor; null on the last.")


class RefusalShape(serializers.Serializer[Any]):
    """How many were refused for one reason, and what one of them was told."""

    code = serializers.CharField()
    count = serializers.IntegerField()
    sentence = serializers.CharField()


class RedriveLinks(serializers.Serializer[Any]):
    self = serializers.CharField()
    abort = serializers.CharField()


class RedriveShape(serializers.Serializer[Any]):
    """A redrive as it stands. `total` is 0 until its dead letters have been listed."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=[str(state) for state in RedriveState])
    filter = MaybeJsonObject(source="match", help_text="Null where the dead letters were named by their ids.")
    rate = serializers.FloatField()
    input_patch = MaybeJsonObject(source="patch")
    agent = serializers.ChoiceField(choices=[str(choice) for choice in AgentChoice])
    reason = serializers.CharField()
    by = serializers.CharField()
    aborted_by = serializers.CharField()
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    refused = serializers.IntegerField()
    opened_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class RedriveDetail(RedriveShape):
    refusals = RefusalShape(many=True)
    eta_s = serializers.FloatField(allow_null=True)
    links = RedriveLinks()


class RedrivePage(serializers.Serializer[Any]):
    items = RedriveShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The next page's cursor; null on the last.")


class DiscardedShape(serializers.Serializer[Any]):
    """Which were closed now; those that were redriven before stay as they are. One that was closed before is in neither list."""

    discarded = Ids()
    redriven = Ids()

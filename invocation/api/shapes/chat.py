"""The shapes of chat: a question, a session, a ticket."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import LABEL, AfterQuery, Budget, DownshiftShape, JsonObject, MaybeJsonObject, Metadata, Text
from invocation.domain.turns import TurnState


class ChatBody(Shape):
    """A question; without a session a new one begins."""

    endpoint = Text(**LABEL)
    input = JsonObject(help_text="Fits the endpoint's input schema.")
    session = serializers.UUIDField(required=False, allow_null=True, help_text="Where to go on; a new one begins without it.")
    subject = Text(required=False, max_length=200)
    locale = Text(required=False, max_length=16)
    metadata = Metadata(required=False)
    budget = Budget(required=False, help_text="What the turn may spend, below the endpoint's own ceiling.")


class SessionQuery(AfterQuery):
    follow = serializers.ChoiceField(required=False, choices=["1"], help_text="Go on following after the open turn's end.")


class TurnShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    number = serializers.IntegerField()
    state = serializers.ChoiceField(choices=[str(state) for state in TurnState])
    endpoint = serializers.CharField()
    agent = serializers.CharField()
    input = JsonObject()
    text = serializers.CharField()
    output = MaybeJsonObject()
    error = MaybeJsonObject()
    downshifts = serializers.SerializerMethodField()
    truncated = serializers.BooleanField()
    retracted = serializers.BooleanField()
    received_at = serializers.DateTimeField()
    deadline = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field(DownshiftShape(many=True))
    def get_downshifts(self, turn: Any) -> list[dict[str, str]]:
        """Return which calls a cheaper tier answered, as the turn's last event tells."""
        return list((turn.last_event or {}).get("data", {}).get("downshifts", []))


class SessionShape(serializers.Serializer[Any]):
    """A conversation with its newest hundred turns, oldest first."""

    id = serializers.UUIDField()
    endpoint = serializers.CharField()
    last_seq = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    turns = TurnShape(many=True)


class StoppedTurn(serializers.Serializer[Any]):
    """The turn that was asked to stop; its last event says when it has."""

    turn = serializers.UUIDField(source="id")
    state = serializers.ChoiceField(choices=[str(state) for state in TurnState])


class TicketShape(serializers.Serializer[Any]):
    """Opens one WebSocket in the key's stead: `?ticket=`."""

    ticket = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")

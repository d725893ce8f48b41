"""The shapes of chat: a question, a session, a ticket."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import (
    LABEL,
    AfterQuery,
    Budget,
    DownshiftShape,
    JsonObject,
    MaybeJsonObject,
    Metadata,
    PageQuery,
    Text,
)
from invocation.domain.turns import TurnState

LONGEST_TITLE = 200


class ChatBody(Shape):
    """A question; without a session a new one begins."""

    endpoint = Text(**LABEL)
    input = JsonObject(help_text="Fits the endpoint's input schema.")
    session = serializers.UUIDField(required=False, allow_null=True, help_text="Where to go on; a new one begins without it.")
    subject = Text(required=False, max_length=200)
    locale = Text(required=False, max_length=16)
    metadata = Metadata(required=False)
    budget = Budget(required=False, help_text="What the turn may spend, below the endpoint's own ceiling.")


class EscapeShape(serializers.Serializer[Any]):
    text = serializers.CharField()
    offer = serializers.CharField(allow_null=True, help_text="The endpoint of the job that may be accepted.")


class SessionQuery(AfterQuery):
    follow = serializers.ChoiceField(required=False, choices=["1"], help_text="Go on following after the open turn's end.")


class SessionsQuery(PageQuery):
    endpoint = Text(required=False, **LABEL)
    subject = Text(required=False, max_length=200, help_text="Sessions with a turn of this subject.")


class SessionLine(serializers.Serializer[Any]):
    """A session in the list: when and what was asked first."""

    id = serializers.UUIDField()
    endpoint = serializers.CharField()
    asked = serializers.SerializerMethodField(help_text="The first question, cut at 200 characters; empty where the input has no text.")
    turns = serializers.IntegerField(source="turn_count")
    created_at = serializers.DateTimeField()
    asked_at = serializers.DateTimeField(allow_null=True, help_text="The newest question's moment.")

    def get_asked(self, session: Any) -> str:
        return str(session.asked or "")[:LONGEST_TITLE]


class SessionPage(serializers.Serializer[Any]):
    items = SessionLine(many=True)
    next = serializers.CharField(allow_null=True, help_text="The next page's cursor; null on the last.")


class TurnShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    number = serializers.IntegerField()
    state = serializers.ChoiceField(choices=[str(state) for state in TurnState])
    endpoint = serializers.CharField()
    agent = serializers.CharField()
    input = JsonObject()
    text = serializers.SerializerMethodField(
        help_text="What was shown; empty where it was retracted: what was taken back is not told again."
    )
    output = MaybeJsonObject()
    error = MaybeJsonObject()
    downshifts = serializers.SerializerMethodField()
    truncated = serializers.BooleanField()
    retracted = serializers.BooleanField()
    escape = serializers.SerializerMethodField(help_text="What follows instead of an answer: a text, and maybe the offer of a job.")
    job = serializers.SerializerMethodField(help_text="The job as which the turn went on, once its offer was accepted.")
    received_at = serializers.DateTimeField()
    deadline = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_text(self, turn: Any) -> str:
        return "" if turn.retracted else str(turn.text)

    @extend_schema_field(EscapeShape(allow_null=True))
    def get_escape(self, turn: Any) -> dict[str, Any] | None:
        found: dict[str, Any] | None = (turn.last_event or {}).get("data", {}).get("escape")
        return found

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_job(self, turn: Any) -> str | None:
        found = getattr(turn, "continuation", None)
        return found and str(found.job_id)

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

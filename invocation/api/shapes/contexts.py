"""The shapes of contexts: what a submission says of one, what moves one on, and what is told of it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import MaybeJsonObject, Text, Whole
from invocation.domain.contexts import KEY, KEY_LENGTH, MOST_VERSION, Relevance

LOOKS = f"Letters, digits and . _ ~ : @ - up to {KEY_LENGTH}, a letter or a digit first."


class ContextKey(serializers.RegexField):
    """A context's key: a segment of an address."""

    def __init__(self, **terms: Any) -> None:
        super().__init__(KEY, max_length=KEY_LENGTH, trim_whitespace=False, help_text=LOOKS, error_messages={"invalid": LOOKS}, **terms)

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(Text(trim_whitespace=False).to_internal_value(data))


class ContextBody(Shape):
    """What the answer belongs to, and what is done with it when it comes after its consumer has moved on."""

    key = ContextKey()
    version = Whole(required=False, min_value=1, max_value=MOST_VERSION, help_text="Asked in this version; in the current one if left out.")
    policy = serializers.ChoiceField(required=False, choices=[str(each) for each in Relevance], help_text="`annotate` if left out.")


class ContextKeyOnly(Shape):
    key = ContextKey()


class MoveBody(Shape):
    version = Whole(required=False, min_value=1, max_value=MOST_VERSION, help_text="Not below the current one; the next one if left out.")


class NamedContext(serializers.Serializer[Any]):
    """The context that a job names, and what is done with an answer that comes too late."""

    key = serializers.CharField()
    version = serializers.IntegerField()
    policy = serializers.CharField()


class RelevanceShape(serializers.Serializer[Any]):
    """Whether the answer's context has moved on since it was asked."""

    is_current = serializers.BooleanField()
    asked_version = serializers.IntegerField()
    current_version = serializers.IntegerField()


class ContextAnswer(serializers.Serializer[Any]):
    """The newest answer that came. `output` is null where it is withheld, kept no more, or large: then read the job's result."""

    job = serializers.UUIDField()
    version = serializers.IntegerField()
    is_current = serializers.BooleanField(help_text="False while the current version has no answer yet.")
    at = serializers.DateTimeField()
    output = MaybeJsonObject()
    result = serializers.CharField(help_text="Where the job's result is read.")


class ContextShape(serializers.Serializer[Any]):
    key = serializers.CharField()
    version = serializers.IntegerField()
    answer = ContextAnswer(allow_null=True)

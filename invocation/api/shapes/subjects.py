"""The shapes of subjects and their erasure."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import Text


class SubjectOnly(Shape):
    subject = Text(max_length=200)


class ErasureShape(serializers.Serializer[Any]):
    """How far the forgetting of a subject is. The subject itself is not told: it is being forgotten."""

    id = serializers.UUIDField()
    asked_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True, help_text="Null while it goes on.")
    jobs_stopped = serializers.IntegerField(help_text="Jobs that were open and were cancelled.")
    jobs_erased = serializers.IntegerField()
    turns_erased = serializers.IntegerField()

"""The shape of a refusal."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ProblemShape(serializers.Serializer[Any]):
    """RFC 9457. Each code adds facts of its own, such as `found`, `limit`, `line` or `sibling`."""

    type = serializers.CharField(help_text="Where the problem is described, relative to this server.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    code = serializers.CharField(help_text="Stable: decide by it.")
    field = serializers.CharField(required=False, help_text="JSON pointer of the field that is wrong.")
    remedy = serializers.CharField(required=False)
    retry_after_s = serializers.IntegerField(required=False)

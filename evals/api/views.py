"""GET /v1/evals: how a tenant's scores stand to what is expected, mode by mode."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evals import selectors
from evals.domain.baselines import Origin, Standing
from invocation.api.bodies import Shape, query
from invocation.api.calls import Call, caller_of
from invocation.domain.modes import Mode


class Since(Shape):
    since = serializers.DateTimeField(required=False, help_text="Count only what was scored since this moment.")


class ComparisonShape(serializers.Serializer[Any]):
    """One agent by one rubric in one mode."""

    agent = serializers.CharField()
    rubric = serializers.CharField()
    mode = serializers.ChoiceField([mode.value for mode in Mode])
    runs = serializers.IntegerField(help_text="How many of your runs were scored.")
    mean = serializers.FloatField(allow_null=True, help_text="Their mean score, 0 to 1.")
    expected = serializers.FloatField(allow_null=True, help_text="The baseline of this mode.")
    origin = serializers.ChoiceField([origin.value for origin in Origin], help_text="Where the baseline comes from.")
    standing = serializers.ChoiceField([standing.value for standing in Standing])


class ComparisonsShape(serializers.Serializer[Any]):
    items = ComparisonShape(many=True)


class Evals(Call):
    """The tenant's own runs only; baselines are the same for all."""

    @extend_schema(summary="Scores by mode", tags=["evals"], parameters=[Since], responses=ComparisonsShape)
    def get(self, request: Request) -> Response:
        since = query(request, Since).get("since")
        compared = selectors.by_mode(tenant_id=caller_of(request).tenant_id, since=since)
        return Response({"items": ComparisonShape(compared, many=True).data})

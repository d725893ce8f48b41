"""What is told of an endpoint: its whole contract."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from invocation.api.shapes.fields import JsonObject, MaybeJsonObject
from invocation.domain.endpoints import Endpoint
from invocation.domain.modes import Deadline, Mode, Transport
from invocation.domain.sessions import OnDisconnect, OnDoubleSend


class LimitsShape(serializers.Serializer[Any]):
    items = serializers.IntegerField(help_text="A list's entries, or a manifest's rows.")
    tokens = serializers.IntegerField()
    body_bytes = serializers.IntegerField()


class BudgetsShape(serializers.Serializer[Any]):
    first_delta_ms = serializers.IntegerField()
    whole_ms = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=12, decimal_places=6)
    tokens = serializers.IntegerField(help_text="Of all model calls of one invocation.")
    model_calls = serializers.IntegerField()


class EndpointShape(serializers.Serializer[Any]):
    """One published contract."""

    endpoint = serializers.CharField(help_text="`name@version`, as calls name it.")
    name = serializers.CharField()
    version = serializers.IntegerField()
    summary = serializers.CharField()
    agent = serializers.CharField()
    mode = serializers.ChoiceField(choices=[str(mode) for mode in Mode])
    transport = serializers.ChoiceField(choices=[str(transport) for transport in Transport])
    right_call = serializers.CharField(help_text="How it is invoked.")
    input_schema = JsonObject()
    output_schema = JsonObject()
    limits = LimitsShape()
    budgets = BudgetsShape()
    deadline = serializers.ChoiceField(choices=[str(each) for each in Deadline])
    verification = serializers.CharField(help_text="How an answer is verified at least: `draft` or `buffer`.")
    may_wait = serializers.ListField(child=serializers.CharField())
    escape = MaybeJsonObject()
    on_disconnect = serializers.ChoiceField(
        choices=[str(each) for each in OnDisconnect], help_text="Chat: what becomes of a turn whose last reader left."
    )
    on_double_send = serializers.ChoiceField(
        choices=[str(each) for each in OnDoubleSend], help_text="Chat: a question while the session still answers."
    )
    sibling = serializers.CharField(allow_null=True, help_text="The endpoint that takes what is too long for this one.")
    successor = serializers.CharField(allow_null=True, help_text="Set when this version is retired.")


class EndpointList(serializers.Serializer[Any]):
    items = EndpointShape(many=True)


def shown(endpoint: Endpoint) -> dict[str, Any]:
    """Return the contract as EndpointShape has it."""
    terms, budgets, limits, hatch = endpoint.policy, endpoint.budgets, endpoint.limits, endpoint.escape
    return {
        "endpoint": endpoint.label,
        "name": endpoint.name,
        "version": endpoint.version,
        "summary": endpoint.summary,
        "agent": endpoint.agent_label,
        "mode": str(endpoint.mode),
        "transport": str(terms.transport),
        "right_call": terms.right_call.replace("{endpoint}", endpoint.label),
        "input_schema": endpoint.input_schema,
        "output_schema": endpoint.output_schema,
        "limits": {"items": limits.items, "tokens": limits.tokens, "body_bytes": limits.body_bytes},
        "budgets": {
            "first_delta_ms": round(budgets.first_delta.total_seconds() * 1000),
            "whole_ms": budgets.whole_ms,
            "cost_usd": f"{budgets.cost_usd:f}",
            "tokens": budgets.tokens,
            "model_calls": budgets.model_calls,
        },
        "deadline": str(terms.deadline),
        "verification": str(endpoint.floor),
        "may_wait": sorted(str(kind) for kind in endpoint.may_wait),
        "on_disconnect": str(endpoint.on_disconnect),
        "on_double_send": str(endpoint.on_double_send),
        "escape": {"text": hatch.text, "offer": hatch.offer, "withdrawn": hatch.withdrawn} if hatch else None,
        "sibling": endpoint.sibling,
        "successor": endpoint.successor,
    }

"""The shapes of webhooks, deliveries and tries."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from invocation.api.bodies import Shape
from invocation.api.shapes.fields import PageQuery, Text
from invocation.domain.destinations import LONGEST_URL
from invocation.domain.webhooks import CallFault, DeliveryState, Disabled, WebhookEvent

ALL_EVENTS = [str(event) for event in WebhookEvent]
STATES = [str(state) for state in DeliveryState]
URL_HELP = "https, a host of the public internet, port 443 or 1024 and above, no credentials."
SECRET_HELP = "Verifies the signatures; it is told in this answer alone."  # noqa: S105  (says what it is for)
TAKES_HELP = "True: told of every job that names no webhook of its own. False: only of jobs that name this one."


class YesNo(serializers.BooleanField):
    """True or false; DRF's own field also takes words and numbers, which the contract does not."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError(f"True or false is wanted, not a {type(data).__name__}.")
        return data


class WebhookBody(Shape):
    """Where to, and of what."""

    url = Text(max_length=LONGEST_URL, help_text=URL_HELP)
    events = serializers.ListField(child=serializers.ChoiceField(choices=ALL_EVENTS), required=False, default=ALL_EVENTS, allow_empty=False)
    takes_all_jobs = YesNo(required=False, default=True, help_text=TAKES_HELP)
    description = Text(required=False, max_length=400, allow_blank=True, default="")


class WebhookChange(Shape):
    """The fields to change; the others stay."""

    url = Text(required=False, max_length=LONGEST_URL, help_text=URL_HELP)
    events = serializers.ListField(child=serializers.ChoiceField(choices=ALL_EVENTS), required=False, allow_empty=False)
    takes_all_jobs = YesNo(required=False, help_text=TAKES_HELP)
    description = Text(required=False, max_length=400, allow_blank=True)
    is_enabled = YesNo(required=False, help_text="False: told nothing more. True: told again what happens from now on.")


class WebhookShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(choices=ALL_EVENTS))
    takes_all_jobs = serializers.BooleanField()
    description = serializers.CharField()
    is_enabled = serializers.BooleanField()
    disabled_at = serializers.DateTimeField(allow_null=True)
    disabled_reason = serializers.ChoiceField(choices=["", *map(str, Disabled)])
    failing_since = serializers.DateTimeField(allow_null=True, help_text="Nothing got through since then; null while something does.")
    previous_secret_signs_until = serializers.DateTimeField(allow_null=True, source="previous_until")
    created_at = serializers.DateTimeField()


class WebhookWithSecret(WebhookShape):
    secret = serializers.CharField(help_text=SECRET_HELP)


class SecretShape(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text=SECRET_HELP)
    previous_secret_signs_until = serializers.DateTimeField()


class WebhookPage(serializers.Serializer[Any]):
    items = WebhookShape(many=True)
    next = serializers.CharField(allow_null=True)


class DeliveryQuery(PageQuery):
    state = serializers.ChoiceField(choices=STATES, required=False)


class TryShape(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    status = serializers.IntegerField(allow_null=True)
    fault = serializers.ChoiceField(choices=["", *map(str, CallFault)], help_text="Why there was no status.")
    duration_ms = serializers.IntegerField()
    answer = serializers.CharField(help_text="The first 500 characters of what was answered.")


class DeliveryShape(serializers.Serializer[Any]):
    id = serializers.UUIDField(help_text="The `webhook-id` of every try.")
    type = serializers.ChoiceField(choices=ALL_EVENTS)
    job = serializers.UUIDField(source="job_id")
    state = serializers.ChoiceField(choices=STATES)
    body = serializers.CharField(help_text="The very bytes that are signed and sent.")
    tries = TryShape(many=True, source="log.all")
    due_at = serializers.DateTimeField(allow_null=True, help_text="The next try; null when there is none.")
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Any) -> Any:
        told = super().to_representation(instance)
        return told | {"due_at": told["due_at"] if instance.state == DeliveryState.PENDING else None}


class DeliveryPage(serializers.Serializer[Any]):
    items = DeliveryShape(many=True)
    next = serializers.CharField(allow_null=True)

"""The client of Gearbox. No call waits for a result: follow the job's events, take a webhook, or ask again."""

from gearbox_client.client import AsyncGearbox, Gearbox
from gearbox_client.problems import (
    BadSignature,
    Conflict,
    Forbidden,
    GearboxError,
    Gone,
    NoResult,
    NotFound,
    Problem,
    Refused,
    ResultNotReady,
    ResultWithheld,
    ServerFault,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unreachable,
    UnreadableAnswer,
)
from gearbox_client.retrying import Reconnects, Retries
from gearbox_client.values.events import Event
from gearbox_client.verifying import WebhookEvent, verify_webhook

__all__ = [
    "AsyncGearbox",
    "BadSignature",
    "Conflict",
    "Event",
    "Forbidden",
    "Gearbox",
    "GearboxError",
    "Gone",
    "NoResult",
    "NotFound",
    "Problem",
    "Reconnects",
    "Refused",
    "ResultNotReady",
    "ResultWithheld",
    "Retries",
    "ServerFault",
    "TooManyRequests",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "UnreadableAnswer",
    "WebhookEvent",
    "verify_webhook",
]

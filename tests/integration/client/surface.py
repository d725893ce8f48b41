"""The client's public surface as a walk finds it, with one call of each kind written out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from gearbox_client import Gearbox
from gearbox_client.groups import Group, exchange, pages, stream
from gearbox_client.values.batches import Window

KINDS = (exchange, pages, stream)
SOON = datetime(2027, 1, 1, tzinfo=UTC)
ID = "018f0000-0000-7000-8000-000000000001"
CONTEXT = {"key": "cart", "version": 1, "policy": "annotate"}
ARGUMENTS: Mapping[str, Any] = MappingProxyType(
    {
        "job_id": ID,
        "turn_id": ID,
        "batch_id": ID,
        "schedule_id": ID,
        "webhook_id": ID,
        "delivery_id": ID,
        "session": ID,
        "webhook": ID,
        "endpoint": "personalize@1",
        "label": "personalize@1",
        "input": {"text": "?"},
        "answers": {"agreed": True},
        "manifest": [{"title": "monster"}],
        "events": ["job.completed"],
        "url": "https://receiver.example/hook",
        "metadata": {"a": "b"},
        "context": CONTEXT,
        "key": "cart",
        "version": 2,
        "shards": 1,
        "after": 0,
        "budget": Decimal("0.01"),
        "tokens": 1_000,
        "model_calls": 3,
        "expires_at": SOON,
        "window": Window(start="22:00", end="06:00", zone="Europe/Berlin"),
        "finish_by": SOON,
        "since": SOON,
        "until": SOON,
        "takes_all_jobs": True,
        "is_enabled": True,
        "ordering_policy": "enqueue",
        "state": "completed",
    }
)


def groups() -> dict[str, type]:
    """Return each group's class by its name; the client's own calls have none."""
    with Gearbox("http://127.0.0.1:1", "gbx_k") as gearbox:
        found = {name: type(value) for name, value in vars(gearbox).items() if isinstance(value, Group)}
    return {"": Gearbox, **found}


def public(kind: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}


def members() -> dict[str, Any]:
    """Return every call by its dotted name."""
    return {
        f"{group}.{name}".strip("."): member
        for group, kind in groups().items()
        for name, member in public(kind).items()
        if isinstance(member, KINDS)
    }


def parameters(member: Any) -> list[str]:
    return list(inspect.signature(member.describe).parameters)[1:]


def written_out(member: Any) -> Any:
    """Return the call as a value, with every argument given."""
    return member.describe(None, **{name: ARGUMENTS.get(name, "a-text") for name in parameters(member)})


def bound(gearbox: Gearbox, name: str) -> Callable[..., Any]:
    """Return the call as a user has it."""
    found: Any = gearbox
    for part in name.split("."):
        found = getattr(found, part)
    call: Callable[..., Any] = found
    return call

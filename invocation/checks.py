"""`manage.py check`: endpoints are sound, published versions keep their contract, canaries can run, and the model provider exists."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  (Django's own word)
from django.db import DatabaseError


@register("endpoints")
def check_endpoints(**_: Any) -> list[CheckMessage]:
    from agents.services import providers  # noqa: PLC0415  (loads the agents)
    from invocation.services import contracts  # noqa: PLC0415

    return [
        *(Error(why, id="invocation.E003") for why in providers.misnamed()),
        *(Error(why, id="invocation.E001") for why in contracts.broken()),
        *(Error(why, id="invocation.E002") for why in contracts.unsound()),
        *(
            Warning(f"{label} is declared and not published.", hint="manage.py publish_endpoints", id="invocation.W001")
            for label in contracts.unpublished()
        ),
    ]


@register(Tags.database)
def check_decisions(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """Before a migration, so at every start: a deploy must not take away the agent version that a canary runs."""
    if not databases:
        return []
    from invocation.services import canaries  # noqa: PLC0415

    try:
        return [Error(why, hint="Decide 0 % in the admin, or keep the version.", id="invocation.E004") for why in canaries.unsound()]
    except DatabaseError:
        return []  # a database before its first migration

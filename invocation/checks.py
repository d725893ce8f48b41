"""`manage.py check`: endpoints are sound, and published versions keep their contract."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004  (Django's own word)


@register("endpoints")
def check_endpoints(**_: Any) -> list[CheckMessage]:
    from invocation.services import contracts  # noqa: PLC0415  (loads the agents)

    return [
        *(Error(why, id="invocation.E001") for why in contracts.broken()),
        *(Error(why, id="invocation.E002") for why in contracts.unsound()),
        *(
            Warning(f"{label} is declared and not published.", hint="manage.py publish_endpoints", id="invocation.W001")
            for label in contracts.unpublished()
        ),
    ]

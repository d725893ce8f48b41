"""What is read of alerts."""

from __future__ import annotations

from invocation.domain.slo import OBJECTIVES, AlertKind, kinds_of
from invocation.models import Alert

Key = tuple[AlertKind, str]


def open_alerts() -> list[Alert]:
    """Return what is wrong at this moment, the newest first."""
    return list(Alert.objects.filter(closed_at__isnull=True).order_by("-pk"))


def standing() -> dict[Key, bool]:
    """Return every alert that there can be, by kind and class, and whether it is open."""
    found = {(AlertKind(row.kind), row.priority_class) for row in open_alerts()}
    keys = [(kind, name) for name, objective in OBJECTIVES.items() for kind in kinds_of(objective)]
    return {key: key in found for key in keys}

"""What an audited change is: which act on which subject, and what it changed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

Told = Mapping[str, str | None]
"""A row's fields as text; None is an empty one."""


class Act(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"


class Subject(StrEnum):
    """What may be changed by hand, and is kept on record for it."""

    PLAN = "plan"
    TENANT = "tenant"
    MODEL_QUOTA = "model_quota"
    PRICE = "price"


def changed(old: Told, new: Told) -> dict[str, list[str | None]]:
    """Return the old and new value of each field that differs; of a row that was added or deleted one side is empty."""
    names = [*old, *(name for name in new if name not in old)]
    return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}

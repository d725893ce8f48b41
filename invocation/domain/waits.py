"""How far a tree of jobs may grow, what a child may spend, and what a waiting job's row says that it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Any

MOST_CHILDREN = 200
"""Children of one job over its whole life."""
MOST_DEPTH = 5
"""How deep below the root a job may lie; the root lies at 0."""
MOST_DESCENDANTS = 1_000
"""Jobs below one root over its whole life."""
LEAST_CAP = Decimal("0.000001")
LENT_SHARE = Decimal("0.5")
"""What a spawn without caps lends of what its parent may still spend: the rest is for the parent itself."""
CALLBACK_BYTES = 65_536


class WaitReason(StrEnum):
    """Why a parked job's row says that it waits. A retry's backoff has a word of its own."""

    CALLBACK = "callback"
    TIME = "time"
    CHILDREN = "children"


def excess(*, depth: int, siblings: int, descendants: int, wanted: int) -> str:
    """Return why a job at this depth may not have so many children more, or nothing."""
    if depth + 1 > MOST_DEPTH:
        return f"This run lies {depth} deep in its tree; below {MOST_DEPTH} nothing is spawned."
    if siblings + wanted > MOST_CHILDREN:
        return f"{siblings} children and {wanted} more; one run may have {MOST_CHILDREN}."
    if descendants + wanted > MOST_DESCENDANTS:
        return f"The tree has {descendants} runs below its root, and {wanted} more are wanted; {MOST_DESCENDANTS} are the most."
    return ""


def cap_of_each(*, wish: float | None, ceiling: Decimal, left: Decimal, count: int) -> Decimal:
    """Return what each of `count` children may spend, never more than its endpoint's ceiling."""
    cap = left * LENT_SHARE / count if wish is None else Decimal(str(wish))
    return min(cap, ceiling).quantize(LEAST_CAP, rounding=ROUND_DOWN)


def for_callback(key: str) -> dict[str, Any]:
    return {"callback": key}


def for_children(ids: Sequence[str]) -> dict[str, Any]:
    return {"children": list(ids)}


def callback_of(awaiting: Mapping[str, Any] | None) -> str | None:
    """Return the key of the callback that a job waits for, if it waits for one."""
    return (awaiting or {}).get("callback")

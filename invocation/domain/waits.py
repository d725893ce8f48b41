"""How far a tree of jobs may grow, what a child may spend, and what a waiting job's row says that it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN
from enum import StrEnum
from typing import Any

from invocation.domain.budgets import Wish, part_of
from quota.domain.budgets import Spending
from quota.domain.prices import MICRO

MOST_CHILDREN = 200
"""Children of one job over its whole life."""
MOST_DEPTH = 5
"""How deep below the root a job may lie; the root lies at 0."""
MOST_DESCENDANTS = 1_000
"""Jobs below one root over its whole life."""
LEAST_CAP = Spending(MICRO, 1, 1)
PARTS = 2
"""A spawn without caps lends one part of two of what its parent may still spend: the other is for the parent itself."""
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


def cap_of_each(wish: Wish, *, ceiling: Spending, left: Spending, count: int) -> Spending:
    """Return what each of `count` children may spend, never more than its endpoint's ceiling.

    What is not wished for is an equal share of half of what is left, of money, tokens and calls alike.
    """
    share = part_of(left, among=PARTS * count)
    usd = share.usd if wish.cost_usd is None else wish.cost_usd.quantize(MICRO, rounding=ROUND_DOWN)
    tokens = share.tokens if wish.tokens is None else wish.tokens
    calls = share.calls if wish.model_calls is None else wish.model_calls
    return Spending(usd, tokens, calls).within(ceiling)


def for_callback(key: str) -> dict[str, Any]:
    return {"callback": key}


def for_children(ids: Sequence[str]) -> dict[str, Any]:
    return {"children": list(ids)}


def callback_of(awaiting: Mapping[str, Any] | None) -> str | None:
    """Return the key of the callback that a job waits for, if it waits for one."""
    return (awaiting or {}).get("callback")

"""Endpoints that only tests declare: a retired version, and one that takes little."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from invocation.domain.endpoints import Endpoint, Estimate, Limits
from invocation.domain.modes import Mode

LIST: Mapping[str, Any] = {
    "type": "object",
    "properties": {"titles": {"type": "array", "items": {"type": "string"}}},
    "required": ["titles"],
    "additionalProperties": False,
}
ANYTHING: Mapping[str, Any] = {"type": "object"}


def estimate(value: Mapping[str, Any]) -> Estimate:
    titles = value["titles"]
    return Estimate(duration=timedelta(seconds=2 * len(titles)), tokens=sum(map(len, titles)), items=len(titles))


def small(name: str, mode: Mode, **terms: Any) -> Endpoint:
    return Endpoint(
        name=name,
        version=1,
        agent="mangaassist",
        agent_version=1,
        mode=mode,
        input_schema=LIST,
        output_schema=ANYTHING,
        estimate=estimate,
        limits=Limits(items=5, tokens=50, body_bytes=400),
        **terms,
    )


ENDPOINTS = (
    small("few", Mode.ASYNC_QUEUE),
    small("quick", Mode.STREAMING_SYNC, sibling="few@1"),
    small("old", Mode.ASYNC_QUEUE, successor="few@1"),
)

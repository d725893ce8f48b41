"""Opening a batch: small ones with their manifest read at once, the others to be planned by a worker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from invocation.domain import traces
from invocation.domain.batches import MOST_SHARDS
from invocation.domain.budgets import Wish
from invocation.domain.endpoints import Endpoint
from invocation.domain.failing import Tolerance
from invocation.domain.ids import new_id
from invocation.domain.windows import Window
from invocation.gateways.stores import answering
from invocation.models import Batch
from invocation.selectors import canaries
from invocation.services import batches, outputs
from invocation.services.cutting import Terms, cut
from invocation.services.manifests import Manifest
from invocation.services.outputs import OutputWish
from quota.services import plans


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOpening:
    """A request for a batch. `wish` is what binds it below the endpoint's own ceilings."""

    tenant_id: UUID
    endpoint: Endpoint
    manifest: Manifest
    shards: int = MOST_SHARDS
    wish: Wish = field(default_factory=Wish)
    traceparent: str = ""
    output: OutputWish = field(default_factory=OutputWish)
    window: Window | None = None
    finish_by: datetime | None = None
    tolerance: Tolerance | None = None
    """From how many failed rows on it is paused; the endpoint's if it names none."""


def open_batch(opening: BatchOpening, *, now: datetime) -> Batch:
    """Accept a batch durably, its shards planned. Raises ManifestInvalid, naming the line, TooManyItems or StoreUnavailable."""
    terms = Terms(endpoint=opening.endpoint, day=plans.day_limits_now(opening.tenant_id), shards=min(opening.shards, MOST_SHARDS))
    with answering("manifest"):
        planned = cut(opening.manifest, terms)
    return batches.accept_planned(_columns(opening), planned, now=now)


def open_unread(opening: BatchOpening, *, now: datetime) -> Batch:
    """Accept a batch durably whose manifest a worker is to read. Raises ManifestInvalid if there is no such file, and StoreUnavailable."""
    return batches.accept({**_columns(opening), "manifest_bytes": opening.manifest.length}, now=now)


def _columns(opening: BatchOpening) -> dict[str, Any]:
    endpoint, budgets, batch_id = opening.endpoint, opening.endpoint.budgets.within(opening.wish), new_id()
    manifest = opening.manifest
    return {
        "id": batch_id,
        "tenant_id": opening.tenant_id,
        "endpoint": endpoint.label,
        "agent": canaries.agent_for(endpoint, batch_id),
        "mode": str(endpoint.mode),
        "traceparent": opening.traceparent or traces.new(),
        "manifest": manifest.location,
        "manifest_format": manifest.form.format,
        "manifest_packing": manifest.form.packing,
        "names_rows": manifest.row_id or "",
        "shards_wanted": min(opening.shards, MOST_SHARDS),
        **outputs.columns_for(opening.tenant_id, endpoint, opening.output, batch_id=batch_id),
        "cost_cap_usd": budgets.cost_usd,
        "token_cap": budgets.tokens,
        "call_cap": budgets.model_calls,
        "row_latency_ms": budgets.whole_ms,
        "failures": asdict(opening.tolerance or endpoint.tolerance),
        "window": opening.window.as_json() if opening.window else None,
        "finish_by": opening.finish_by,
    }

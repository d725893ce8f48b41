"""What reserving and settling quota adds to a model call while 64 callers of one process make theirs."""

from __future__ import annotations

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import waits
from tests.benchmarks.staging.stage import Client, staged
from tests.benchmarks.staging.waits import Waits

CALLERS = 64
CALLS, FLAT_OUT_CALLS = 200, 200
CALL_S = 0.1
ROUNDS = 3
TARGET_MS = 1.0


def run() -> Figure:
    """Each call lasts a tenth of a second, so 640 calls a second; beside it two bare round trips, and both without a pause."""
    with staged() as stage:
        client = stage.client("quoting")
        client.do("limit", tokens=2_000_000_000, requests=2_000_000, p0_reserved=0.3, p3_cap=0.6)
        _reserved(client, "p0", call_s=0.0, calls=20)
        rounds = [_round(client) for _ in range(ROUNDS)]
        flat = {name: _reserved(client, name, call_s=0.0, calls=FLAT_OUT_CALLS) for name in ("p0", "p3")}
        flat_bare = _bare(client, call_s=0.0, calls=FLAT_OUT_CALLS)
    direct, block, bare = (sum((each[at] for each in rounds), waits.NONE) for at in range(3))
    return Figure(
        name="quota_overhead",
        unit="ms",
        main=Row(what=f"reserve + settle, p0, {CALLERS} callers, p95", value=direct.at(0.95), target=TARGET_MS),
        beside=(
            Row(what=f"reserve + settle, p3 from blocks, {CALLERS} callers, p95", value=block.at(0.95), target=TARGET_MS),
            Row(what="two bare round trips to Redis, p95", value=bare.at(0.95)),
            *direct.rows("p0", (0.5, 0.99)),
            *block.rows("p3", (0.5, 0.99)),
            *bare.rows("bare", (0.5, 0.99)),
            *flat["p0"].rows("p0 flat out (calls that take no time)", (0.5, 0.95)),
            *flat["p3"].rows("p3 flat out", (0.5, 0.95)),
            *flat_bare.rows("bare flat out", (0.5, 0.95)),
        ),
    )


def _round(client: Client) -> tuple[Waits, Waits, Waits]:
    p0, p3 = (_reserved(client, name, call_s=CALL_S, calls=CALLS // ROUNDS) for name in ("p0", "p3"))
    return p0, p3, _bare(client, call_s=CALL_S, calls=CALLS // ROUNDS)


def _reserved(client: Client, priority_class: str, *, call_s: float, calls: int) -> Waits:
    return waits.of_seconds(client.do("reserve", priority_class=priority_class, callers=CALLERS, calls=calls, call_s=call_s)["each"])


def _bare(client: Client, *, call_s: float, calls: int) -> Waits:
    return waits.of_seconds(client.do("bare", callers=CALLERS, calls=calls, call_s=call_s)["each"])

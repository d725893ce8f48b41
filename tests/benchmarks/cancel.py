"""How soon the model's call ends when a person stops the answer."""

from __future__ import annotations

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import waits
from tests.benchmarks.staging.talks import talks

PEOPLE, TIMES = 20, 15
TARGET_MS = 500.0
TOKEN_MS = 80
"""An answer of four seconds: what is stopped must not have ended by itself."""


def run() -> Figure:
    """From the moment at which the request to stop is sent to the end of the call in the worker, on the clock that both share."""
    with talks("leaving", OFFLINE_TOKEN_MS=str(TOKEN_MS)) as ground:
        found = ground.client.do("stopped", port=ground.stage.port, keys=list(ground.keys), people=PEOPLE, times=TIMES, seed=1)
    took = waits.of_seconds(found["each"])
    return Figure(
        name="cancel",
        unit="ms",
        main=Row(what=f"stop → model's call ended, {PEOPLE} chats, p95", value=took.at(0.95), target=TARGET_MS),
        beside=(
            *took.rows("stop → model's call ended"),
            Row(what="stops", value=len(took.each), unit="times"),
            *(Row(what=f"first trouble: {trouble[-60:]!r}", value=1, unit="times") for trouble in found["failures"][:1]),
            Row(what="those that went wrong", value=len(found["failures"]), target=0, unit="times"),
        ),
    )

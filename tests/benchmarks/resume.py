"""How soon someone who was cut off in the middle of an answer hears the first event that was missed."""

from __future__ import annotations

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import waits
from tests.benchmarks.staging.talks import talks

PEOPLE, TIMES = 20, 15
TARGET_MS = 50.0


def run() -> Figure:
    """From the first byte of the new connection, which names the last event that was seen; none is lost or repeated."""
    with talks("leaving") as ground:
        found = ground.client.do("resumed", port=ground.stage.port, keys=list(ground.keys), people=PEOPLE, times=TIMES, seed=1)
    took = waits.of_seconds(found["each"])
    return Figure(
        name="resume",
        unit="ms",
        main=Row(what=f"reconnect → first missing event, {PEOPLE} chats, p95", value=took.at(0.95), target=TARGET_MS),
        beside=(
            *took.rows("reconnect → first missing event"),
            Row(what="reconnections", value=len(took.each), unit="times"),
            Row(what="those that went wrong", value=len(found["failures"]), target=0, unit="times"),
        ),
    )

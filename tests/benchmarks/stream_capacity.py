"""How many chats one web process and one worker finish a second when there are always more, and what a thousand tokens cost."""

from __future__ import annotations

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging.talks import OURS, talks

LEVELS = (50, 100, 200, 400)
FOR_S = 20.0
TOKENS = 51


def run() -> Figure:
    """The most that were completed at any of these numbers of chats; beyond it more chats only wait longer."""
    with talks() as ground:
        looks = {people: ground.staggered(ground.stage.port, people=people, for_s=FOR_S) for people in LEVELS}
    rates = {people: talk.turns / talk.took_s for people, talk in looks.items()}
    best = max(rates, key=lambda people: rates[people])
    of_best = looks[best]
    thousands = of_best.turns * TOKENS / 1000
    return Figure(
        name="stream_capacity",
        unit="turns/s",
        main=Row(what="completed turns a second, at saturation", value=rates[best]),
        beside=(
            Row(what="tokens a second", value=rates[best] * TOKENS, unit="tokens/s"),
            *(Row(what=f"completed turns a second, {people} chats", value=rate) for people, rate in rates.items()),
            *(Row(what=f"turns that failed, {people} chats", value=len(talk.failures), unit="turns") for people, talk in looks.items()),
            *(Row(what=f"CPU for 1,000 tokens, {name}", value=of_best.cpu_s.get(name, 0.0) / thousands, unit="s") for name in OURS),
        ),
    )

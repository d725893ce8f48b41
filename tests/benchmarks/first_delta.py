"""What the platform adds to a chat's first words: at 1, 20, 100 and 200 chats, and when 100 begin in the same instant."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging.talks import BARE, OURS, Talk, Talks, talks

LEVELS = (1, 20, 100, 200)
TARGETS = {100: 20.0, 200: 40.0}
MEASURED_AT = 100
LONG_S, SHORT_S = 15.0, 8.0
AT_ONCE, TIMES = 100, 6
AT_ONCE_TARGET, CPU_TARGET = 60.0, 12.0


def run() -> Figure:
    """Each chat asks again when its answer has ended: the model's first token after 200 ms, then 50 tokens 20 ms apart.

    The in-process endpoint streams the same model straight out of the process that serves HTTP,
    in the same minute: what it takes is the machine's and the server's.
    """
    with talks() as ground:
        looks = {people: _look(ground, people) for people in LEVELS}
        bare_burst = ground.at_once(ground.bare_port, people=AT_ONCE, times=TIMES)
        burst = ground.at_once(ground.stage.port, people=AT_ONCE, times=TIMES)
    ours = looks[MEASURED_AT][0]
    first = ours.first.at(0.95)
    failures = sum(len(talk.failures) for talk in (burst, *(look[0] for look in looks.values())))
    return Figure(
        name="first_delta",
        unit="ms",
        main=Row(what=f"first delta beyond the model's own, {MEASURED_AT} chats, p95", value=first, target=TARGETS[MEASURED_AT]),
        beside=(
            *(row for people, look in looks.items() for row in _rows(people, *look)),
            Row(what=f"{AT_ONCE} in the same instant, p95", value=burst.first.at(0.95), target=AT_ONCE_TARGET),
            Row(what=f"{AT_ONCE} in the same instant, in-process, p95", value=bare_burst.first.at(0.95)),
            Row(what=f"CPU a turn of 51 tokens, {MEASURED_AT} chats, all processes", value=ours.cpu_ms(*OURS), target=CPU_TARGET),
            *ours.cpu_rows(f"{MEASURED_AT} chats", *OURS),
            Row(what=f"CPU a turn, {MEASURED_AT} chats, in-process", value=looks[MEASURED_AT][1].cpu_ms(*BARE)),
            Row(what="turns that failed", value=failures, target=0, unit="turns"),
        ),
    )


def _look(ground: Talks, people: int) -> tuple[Talk, Talk]:
    bare = ground.staggered(ground.bare_port, people=people, for_s=SHORT_S)
    return ground.staggered(ground.stage.port, people=people, for_s=LONG_S), bare


def _rows(people: int, ours: Talk, bare: Talk) -> Sequence[Row]:
    p50, p95, p99 = (ours.first.at(share) for share in (0.5, 0.95, 0.99))
    target = TARGETS.get(people) if people != MEASURED_AT else None
    return (
        Row(what=f"{people} chats, p50", value=p50),
        Row(what=f"{people} chats, p95", value=p95, target=target),
        Row(what=f"{people} chats, p99", value=p99),
        Row(what=f"{people} chats, in-process, p95", value=bare.first.at(0.95)),
    )

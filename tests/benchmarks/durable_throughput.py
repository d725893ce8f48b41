"""Jobs a second from the first submission to the last completion, flat out, against bare Celery's `.delay()` loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from tests.benchmarks.figure import Bound, Figure, Row
from tests.benchmarks.staging import rounds
from tests.benchmarks.staging.rounds import SLOTS, TENANTS, Round, Tenants
from tests.benchmarks.staging.stage import Stage, staged

JOBS = 5_000
PAIRS = 5
HTTP_PAIRS = 3
CONNECTIONS = 8
TARGET = 1.5
HTTP_TARGET = 1.0
REST_S = 1.0
OURS = ("submitting", "dispatcher", "worker-p1", "postgres", "redis")
OVER_HTTP = ("posting", "web", *OURS[1:])
BARE = ("delaying", "bare", "redis")

Play = Callable[[], Round]


def run() -> Figure:
    """Play in turn, so that what drifts on the machine drifts for all: the figure is the median of ratios, pair by pair."""
    with staged(SLOTS=f"p1={SLOTS}") as stage:
        return _figure(_played(_plays(stage)))


def _plays(stage: Stage) -> Mapping[str, Play]:
    """Start everything, once through each path, and return what is played."""
    stage.start("worker-p1")
    stage.start("dispatcher")
    stage.start("web")
    stage.start_bare(concurrency=stage.env.worker_threads)
    stage.wait_for_port(stage.port)
    submitting, posting, delaying = (stage.client(module) for module in ("submitting", "posting", "delaying"))
    tenants = Tenants.made(submitting, TENANTS)

    def plays(jobs: int) -> dict[str, Play]:
        return {
            "bare": lambda: rounds.of_bare(stage, delaying, jobs=jobs),
            "service": lambda: rounds.through_the_service(stage, submitting, tenants, jobs=jobs),
            "http": lambda: rounds.over_http(stage, posting, tenants, jobs=jobs, connections=CONNECTIONS),
        }

    for warm_up in plays(JOBS // 10).values():
        warm_up()
    return plays(JOBS)


def _played(plays: Mapping[str, Play]) -> dict[str, list[Round]]:
    played: dict[str, list[Round]] = {name: [] for name in plays}
    for pair in range(PAIRS):
        order = [name for name in plays if name != "http" or pair < HTTP_PAIRS]
        for name in order if pair % 2 == 0 else reversed(order):
            time.sleep(REST_S)
            played[name].append(plays[name]())
    return played


def _figure(played: Mapping[str, Sequence[Round]]) -> Figure:
    bare, service, http = played["bare"], played["service"], played["http"]
    over_http = rounds.ratio(http, bare[:HTTP_PAIRS])
    return Figure(
        name="durable_throughput",
        unit="x bare Celery",
        main=Row(what="through the submission service", value=rounds.ratio(service, bare), target=TARGET, bound=Bound.AT_LEAST),
        beside=(
            Row(what="through POST /v1/jobs", value=over_http, target=HTTP_TARGET, bound=Bound.AT_LEAST),
            Row(what="through the submission service", value=rounds.rate(service), unit="jobs/s"),
            Row(what="through POST /v1/jobs", value=rounds.rate(http), unit="jobs/s"),
            Row(what="bare Celery", value=rounds.rate(bare), unit="jobs/s"),
            *_cpu("service", service, OURS),
            *_cpu("POST", http, OVER_HTTP),
            *_cpu("bare", bare, BARE),
        ),
    )


def _cpu(path: str, played: Sequence[Round], names: Sequence[str]) -> list[Row]:
    each = {name: median(one.cpu_ms_a_job(name) for one in played) for name in names}
    whole = Row(what=f"{path}: all processes", value=sum(each.values()), unit="CPU ms/job")
    return [whole, *(Row(what=f"{path}: {name}", value=value, unit="CPU ms/job") for name, value in each.items())]

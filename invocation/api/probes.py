"""What machines ask: is this process alive, can it serve, and what are the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from invocation.api.problems import respond
from invocation.api.stream_figures import Families, stream_figures
from invocation.domain.slo import OBJECTIVES, WINDOW_LASTS, dead_letter_share, utilisation
from invocation.selectors import alerts, depth, jobs, slo
from invocation.services import readiness
from quota.api.authentication import caller_from_header
from quota.domain.callers import Scope
from quota.domain.errors import QuotaError, QuotaStoreUnavailable
from quota.domain.gauges import MINUTE, TOKENS, Gauge
from quota.services.gauges import gauges

LOOPBACK = frozenset({"127.0.0.1", "::1"})
LABELS = ("priority_class", "mode")
HOW_OUT = {"closed": 0.0, "half_open": 0.5, "open": 1.0}


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return JsonResponse({"status": "alive"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when all that the installation stands on is ready, else 503; workers are told, not demanded."""
    checks = readiness.check()
    is_ready = all(word == readiness.READY for word in checks.values())
    told = {"status": "ready" if is_ready else "not ready", "checks": checks, "workers": readiness.workers(now=timezone.now())}
    return JsonResponse(told, status=200 if is_ready else 503, headers={"Cache-Control": "no-store"})


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus's text: for this machine, or for a key that may read."""
    try:
        _must_be_allowed(request)
    except QuotaError as refusal:
        return respond(refusal, request)
    return HttpResponse(generate_latest(_FIGURES) + generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def _must_be_allowed(request: HttpRequest) -> None:
    """A proxy on this machine makes every caller look local, so a forwarded call needs a key."""
    is_local = request.META.get("REMOTE_ADDR") in LOOPBACK and "X-Forwarded-For" not in request.headers
    if not is_local:
        caller_from_header(request.headers.get("Authorization")).require(Scope.READ)


class _Figures(Collector):
    """Depth, age and slots, asked of PostgreSQL at each scrape."""

    def collect(self) -> Families:
        now = timezone.now()
        waiting = GaugeMetricFamily("gearbox_queue_depth", "Invocations that wait for a slot; estimated beyond 10000.", labels=LABELS)
        age = GaugeMetricFamily("gearbox_queue_oldest_seconds", "How long the oldest of them has waited.", labels=LABELS)
        for line in depth.depths():
            waiting.add_metric([line.priority_class, line.mode], line.waiting)
            age.add_metric([line.priority_class, line.mode], line.oldest_s(now=now))
        yield from (waiting, age)
        yield from _slots()
        yield from _objectives()
        yield _downshifts()
        yield from _quotas()
        yield from stream_figures()


def _quotas() -> Iterator[GaugeMetricFamily]:
    """The models' quotas; without their store there is no line of them."""
    labels = ("provider", "model", "window", "unit")
    used = GaugeMetricFamily(
        "gearbox_quota_used", "What a class has used or reserved of a model's quota.", labels=(*labels, "priority_class")
    )
    ceiling = GaugeMetricFamily("gearbox_quota_ceiling", "What the provider lets through for now.", labels=labels)
    out = GaugeMetricFamily("gearbox_model_out", "1 while the model's breaker is open, 0.5 while a probe decides.", labels=labels[:2])
    for gauge in _gauges():
        place = [gauge.provider, gauge.model, gauge.window, gauge.unit]
        ceiling.add_metric(place, gauge.ceiling)
        for word, figure in gauge.used_by_class.items():
            used.add_metric([*place, str(word)], figure)
        if (gauge.window, gauge.unit) == (MINUTE, TOKENS):
            out.add_metric(place[:2], HOW_OUT[gauge.breaker])
    return iter((used, ceiling, out))


def _gauges() -> Sequence[Gauge]:
    try:
        return gauges()
    except QuotaStoreUnavailable:
        return ()


def _slots() -> Iterator[GaugeMetricFamily]:
    processes = GaugeMetricFamily("gearbox_worker_processes", "Living worker processes.", labels=LABELS[:1])
    slots = GaugeMetricFamily("gearbox_slots", "Runs that living workers may have in flight.", labels=LABELS[:1])
    in_use = GaugeMetricFamily("gearbox_slots_in_use", "Runs in flight.", labels=LABELS[:1])
    for line in depth.slots(now=timezone.now()):
        processes.add_metric([line.priority_class], line.processes)
        slots.add_metric([line.priority_class], line.slots)
        in_use.add_metric([line.priority_class], line.in_use)
    return iter((processes, slots, in_use))


def _downshifts() -> CounterMetricFamily:
    told = CounterMetricFamily(
        "gearbox_downshifts", "Model calls that a cheaper tier answered.", labels=("endpoint", "from", "to", "reason")
    )
    for labels, count in jobs.downshift_counts().items():
        told.add_metric(labels, count)
    return told


def _objectives() -> Iterator[GaugeMetricFamily]:
    """What the records of the last minutes say; a class without records has no line."""
    use = GaugeMetricFamily("gearbox_slot_utilisation", "Mean use of the slots over ten minutes; 0.65 to 0.75 is good.", labels=LABELS[:1])
    share = GaugeMetricFamily(
        "gearbox_dead_letter_share", "Dead letters of 24 hours to the jobs that ended; at most 0.0005.", labels=LABELS[:1]
    )
    for name, samples in slo.history(since=timezone.now() - WINDOW_LASTS).items():
        used = utilisation(samples)
        if used is not None:
            use.add_metric([name], used)
        if OBJECTIVES[name].keeps_dead_letters:
            share.add_metric([name], dead_letter_share(samples[-1]))
    alert = GaugeMetricFamily("gearbox_alert", "1 while the alert is open.", labels=("kind", "priority_class"))
    for (kind, name), is_open in alerts.standing().items():
        alert.add_metric([str(kind), name], float(is_open))
    return iter((use, share, alert))


_FIGURES = CollectorRegistry(auto_describe=False)
_FIGURES.register(_Figures())

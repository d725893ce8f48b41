"""The figures of streams on `/metrics`: of the whole installation, whichever web process is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from invocation.domain.measures import COUNTERS, HISTOGRAMS, OPEN, Histogram
from invocation.services import tallies

Families = Iterator[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]
Tallied = Mapping[tuple[str, ...], float]


def stream_figures() -> Families:
    """Yield them; without the store there is no line of them."""
    told = tallies.told()
    if told is None:
        return
    open_now, tallied = told
    yield _open(open_now)
    for counter in COUNTERS:
        family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
        for name, *labels in tallied:
            if name == counter.name:
                family.add_metric(labels, tallied[name, *labels])
        yield family
    for histogram in HISTOGRAMS:
        yield _histogram(histogram, tallied)


def _open(open_now: Mapping[str, int]) -> GaugeMetricFamily:
    name, words, labels = OPEN
    family = GaugeMetricFamily(name, words, labels=labels)
    for kind, count in open_now.items():
        family.add_metric(kind.split(" "), count)
    return family


def _histogram(histogram: Histogram, tallied: Tallied) -> HistogramMetricFamily:
    family = HistogramMetricFamily(histogram.name, histogram.help, labels=histogram.labels)
    bounds = [*map(str, histogram.buckets), "+Inf"]
    for labels in sorted({tuple(key[1:-1]) for key in tallied if key[0] == histogram.name}):
        counts = [tallied.get((histogram.name, *labels, str(place)), 0.0) for place in range(len(bounds))]
        cumulative = list(zip(bounds, accumulate(counts), strict=True))
        family.add_metric(labels, cumulative, tallied.get((histogram.name, *labels, tallies.SUM), 0.0))
    return family

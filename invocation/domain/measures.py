"""What is measured of streams: names, labels and buckets. Labels are endpoints, lines and codes of ours, never what a caller sends."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counter:
    name: str
    help: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """`buckets` are upper bounds in seconds, without the last, infinite one."""

    name: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]

    def bucket(self, seconds: float) -> int:
        """Return the place of the first bucket that holds it; the infinite one is `len(buckets)`."""
        return bisect_left(self.buckets, seconds)


LATENCIES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 6.0)
GAPS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)

FIRST_DELTA = Histogram(
    "gearbox_stream_first_delta_seconds",
    "From the receipt of a question to its first delta, by share: whole, model (its own first token), platform (the rest).",
    ("endpoint", "share"),
    LATENCIES,
)
GAP = Histogram("gearbox_stream_gap_seconds", "Between two deltas of a turn, as sent to a reader.", ("endpoint",), GAPS)
HEARTBEATS = Counter("gearbox_stream_heartbeats", "Heartbeats sent: each is two seconds without a delta.", ("endpoint", "line"))
RETRACTIONS = Counter("gearbox_stream_retractions", "Answers that were taken back before a reader's eyes.", ("endpoint",))
SHEDS = Counter("gearbox_stream_sheds", "Questions and connections that were refused at once, by the refusal's code.", ("endpoint", "code"))
RESUMES = Counter("gearbox_stream_resumes", "Connections that went on behind a seq.", ("endpoint", "line"))
SENT_AWAY = Counter("gearbox_stream_sent_away", "Connections that a leaving web process sent elsewhere.", ("endpoint", "line"))

COUNTERS = (HEARTBEATS, RETRACTIONS, SHEDS, RESUMES, SENT_AWAY)
HISTOGRAMS = (FIRST_DELTA, GAP)
OPEN = ("gearbox_stream_connections", "Streams that are open now, over all web processes.", ("endpoint", "line"))

"""How single values look on every page of the admin: badges, ages, lengths and money."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

NONE = "—"
SPACE = "\N{NO-BREAK SPACE}"
TONES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(["completed", "complete", "live", "as published"], "good"),
        **dict.fromkeys(["failed", "fail", "overdue", "broken", "held", "expired"], "bad"),
        **dict.fromkeys(["planning", "working", "running", "dispatched", "gathering", "fired"], "busy"),
        **dict.fromkeys(["input_required", "waiting", "cancelling", "truncated", "retracted", "paused", "draining", "declined"], "wary"),
    }
)
UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)), ("s", timedelta(seconds=1)))


def badge(word: str, *, tone: str | None = None) -> SafeString:
    return format_html('<span class="gx-badge gx-{}">{}</span>', tone or TONES.get(word, "calm"), word.replace("_", " "))


def ago(moment: datetime | None) -> SafeString | str:
    """Return how long ago (or ahead) a moment is, the moment itself on hover."""
    if moment is None:
        return NONE
    age = timezone.now() - moment
    text = f"in {length(-age)}" if age < timedelta() else f"{length(age)} ago"
    return format_html('<time datetime="{}" title="{}" class="gx-quiet">{}</time>', moment.isoformat(), exact(moment), text)


def exact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def length(span: timedelta) -> str:
    """Return a length in whole units: the largest of which it holds two, or one exactly."""
    for name, unit in UNITS:
        if span >= 2 * unit or span == unit:
            return f"{span // unit} {name}"
    return "1 s" if span >= timedelta(seconds=1) else "<1 s"


def money(usd: Decimal | None) -> str:
    """Return dollars, with as many decimals as small sums need."""
    if usd is None:
        return NONE
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.4f}"


def two_lines(first: object, second: object) -> SafeString:
    return format_html('{}<br><span class="gx-quiet">{}</span>', first, second)


def mode(name: str) -> SafeString:
    """Return a mode's name with a mark in its own colour, the same on every page."""
    return format_html('<span class="gx-mode gx-mode-{}">{}</span>', name, name)

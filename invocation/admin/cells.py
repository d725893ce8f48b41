"""How single values look in the admin: badges, ages, lengths, money, links and masked JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.domain.masking import masked, masked_text

NONE = "—"
SPACE = "\N{NO-BREAK SPACE}"
LONG_MS = 120_000
TONES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(["completed", "complete", "live", "as published"], "good"),
        **dict.fromkeys(["failed", "fail", "overdue", "broken", "held", "expired"], "bad"),
        **dict.fromkeys(["working", "running", "dispatched", "gathering", "fired"], "busy"),
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


def took(milliseconds: float | None) -> str:
    if milliseconds is None:
        return NONE
    if milliseconds >= LONG_MS:
        return length(timedelta(milliseconds=milliseconds))
    return f"{milliseconds / 1000:,.1f}{SPACE}s" if milliseconds >= 1_000 else f"{milliseconds:,.0f}{SPACE}ms"


def money(usd: Decimal | None) -> str:
    """Return dollars, with as many decimals as small sums need."""
    if usd is None:
        return NONE
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.4f}"


def pretty(value: Any) -> str:
    """Return a JSON value to be read, its private values masked."""
    return json.dumps(masked(value), indent=2, ensure_ascii=False)


def excerpt(text: str, *, most: int = 90) -> str:
    shown = masked_text(" ".join(text.split()))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def address(name: str, key: object) -> str:
    """Return the address of a row's page; `name` is the model's."""
    return reverse(f"admin:invocation_{name}_change", args=[key])


def link_to(name: str, key: object, *, text: str = "") -> SafeString:
    return format_html('<a class="gx-link gx-mono" href="{}" title="{}">{}</a>', address(name, key), key, text or short(key))


def two_lines(first: object, second: object) -> SafeString:
    return format_html('{}<br><span class="gx-quiet">{}</span>', first, second)


def tries(row: Any) -> SafeString:
    """Return the attempts of a row, with the failures and losses that there were."""
    spent = [f"{count} {word}" for count, word in ((row.failures, "failed"), (row.losses, "lost")) if count]
    return format_html('{} <span class="gx-quiet">{}</span>', row.attempt, ", ".join(spent))


def short(key: object) -> str:
    """Return the end of an id: the random part, which tells rows of one moment apart."""
    return f"…{str(key)[-8:]}"


def bar(done: int, of: int, *, failed: int = 0) -> SafeString:
    """Return a progress bar of good and failed parts."""
    whole = max(of, 1)
    good, bad = 100 * (done - failed) / whole, 100 * failed / whole
    return format_html(
        '<span class="gx-progress" title="{} of {}, {} failed"><i style="width:{}%"></i><b style="width:{}%"></b></span>'
        '<span class="gx-quiet gx-mono">{}%</span>',
        done,
        of,
        failed,
        f"{good:.1f}",
        f"{bad:.1f}",
        100 * done // whole,
    )


def mode(name: str) -> SafeString:
    """Return a mode's name with a mark in its own colour, the same on every page."""
    return format_html('<span class="gx-mode gx-mode-{}">{}</span>', name, name)

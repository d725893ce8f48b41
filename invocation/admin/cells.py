"""How single values of work look in the admin: links, bars and masked JSON, beside what every page shows alike."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.domain.masking import masked, masked_text
from quota.admin.cells import NONE, SPACE, TONES, ago, badge, exact, length, mode, money, two_lines

LONG_MS = 120_000

__all__ = [
    "NONE",
    "SPACE",
    "TONES",
    "address",
    "ago",
    "badge",
    "bar",
    "exact",
    "excerpt",
    "length",
    "link_to",
    "mode",
    "money",
    "pretty",
    "short",
    "took",
    "tries",
    "two_lines",
]


def took(milliseconds: float | None) -> str:
    if milliseconds is None:
        return NONE
    if milliseconds >= LONG_MS:
        return length(timedelta(milliseconds=milliseconds))
    return f"{milliseconds / 1000:,.1f}{SPACE}s" if milliseconds >= 1_000 else f"{milliseconds:,.0f}{SPACE}ms"


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

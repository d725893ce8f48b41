"""A batch's page as values: the bar, the figures, the squares of the heat-map, what warns and what fails; drawn once and then kept live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from invocation.admin import cells
from invocation.admin.redriving import who
from invocation.domain.batch_acts import MOST_REASON, Act, asked, possible
from invocation.domain.batches import BATCH_ENDED, BatchState
from invocation.domain.masking import masked_text
from invocation.models import Batch
from invocation.selectors import batches as seen
from invocation.selectors.progress import COLUMNS, Progress, told_of
from invocation.services import batch_control

PARTS = ("head", "notices", "figures", "legend", "causes")
LABELS: Mapping[Act, tuple[str, str]] = MappingProxyType(
    {
        Act.PAUSE: ("Pause", "No row begins any more; those that run come to their end. It waits until somebody resumes it."),
        Act.RESUME: ("Resume", "It goes on from its checkpoints, in its window; where only its dataset is missing, that is tried again."),
        Act.RETRY_FAILED: ("Retry failed rows", "Only the rows that failed run once more, and are paid for again."),
        Act.CANCEL: ("Cancel", "It ends for good. What is finished is published as a part."),
    }
)
SQUARE = ("index", "rows", "attempt", *COLUMNS)


def pause(request: HttpRequest, row: Batch) -> None:
    batch_control.pause(row.pk, sentence=asked(by=who(request), reason=reason(request)), now=timezone.now())
    messages.success(request, "Paused: rows that run come to their end.")


def resume(request: HttpRequest, row: Batch) -> None:
    batch_control.resume(row.pk, now=timezone.now())
    messages.success(request, "Resumed.")


def retry_failed(request: HttpRequest, row: Batch) -> None:
    count = batch_control.retry_failed(row.pk, now=timezone.now())
    messages.success(request, f"{count:,} failed rows run again.")


def cancel(request: HttpRequest, row: Batch) -> None:
    batch_control.cancel(row.pk, now=timezone.now())
    messages.success(request, "Cancelled: what is finished stays.")


ACTS: Mapping[Act, Callable[[HttpRequest, Batch], None]] = MappingProxyType(
    {Act.PAUSE: pause, Act.RESUME: resume, Act.RETRY_FAILED: retry_failed, Act.CANCEL: cancel}
)


def reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:MOST_REASON]


def drawn(row: Any, *, now: datetime) -> dict[str, Any]:
    """Return what the page and its updates show, in a number of queries that goes with no number of rows."""
    shards = list(seen.shards_of(row).values(*SQUARE))
    progress = told_of(row, shards, now=now)
    return {
        "row": row,
        "progress": progress,
        "bar": bar(row, progress),
        "state": cells.badge(row.state),
        "publication": publication(row),
        "notices": list(_notices(row, progress)),
        "figures": figures(row, progress, now=now),
        "states": [(state, count, cells.TONES.get(state, "calm")) for state, count in progress.shards.items() if count],
        "causes": [_cause(cause) for cause in progress.causes],
        "squares": [square(shard) for shard in shards],
        "acts": possible(row.state, pause=_code(row.pause), fault=_code(row.fault), failed=progress.rows_failed),
        "is_live": row.state not in BATCH_ENDED,
    }


def _code(told: Mapping[str, Any] | None) -> str:
    return str((told or {}).get("code", ""))


def update(row: Any, *, now: datetime) -> dict[str, Any]:
    """Return the same as JSON: each part's HTML, the bar's widths, one list a square."""
    shown = drawn(row, now=now)
    return {
        "parts": {name: render_to_string(f"admin/invocation/batches/{name}.html", shown) for name in PARTS},
        **{name: shown[name] for name in ("bar", "squares", "acts", "is_live")},
    }


def bar(row: Batch, progress: Progress) -> dict[str, str]:
    """Return the widths of the good and the failed part, and what they mean in words; while it is planned, of the manifest."""
    planned = _planned(row)
    if planned is not None:
        return {"good": f"{planned:.1f}%", "bad": "0%", "told": f"{planned:.0f}% of the manifest is read"}
    whole = max(row.rows, 1)
    good, bad = 100 * (progress.rows_done - progress.rows_failed) / whole, 100 * progress.rows_failed / whole
    told = f"{progress.rows_done:,} of {row.rows:,} rows, {progress.rows_failed:,} failed"
    return {"good": f"{good:.2f}%", "bad": f"{bad:.2f}%", "told": told}


def _planned(row: Any) -> float | None:
    """Return the percentage of the manifest that was read, while it is."""
    if row.state != BatchState.PLANNING:
        return None
    told = row.planning or {}
    return 100 * (told.get("bytes_read") or 0) / max(told.get("bytes") or 1, 1)


def publication(row: Batch) -> SafeString | str:
    """Return what the scores made of it: a completed batch is not published until they did."""
    if row.publication:
        return cells.badge(row.publication, tone="good" if row.publication == "published" else "bad")
    if row.state != BatchState.COMPLETED:
        return ""
    return cells.badge("not published" if row.scores else "not scored yet", tone="calm")


def figures(row: Batch, progress: Progress, *, now: datetime) -> list[tuple[str, object]]:
    return [
        ("Rows done", f"{progress.rows_done:,} of {row.rows:,}"),
        ("Failed rows", f"{progress.rows_failed:,}"),
        ("Rate", f"{progress.rate:,.1f} rows/s" if progress.rate and progress.rows_left else cells.NONE),
        ("Work left", _left(progress)),
        ("Done at", _moment(progress.finish_at, now=now) if progress.rows_left else cells.NONE),
        ("Cost", f"{cells.money(progress.cost_usd)} of {cells.money(row.cost_cap_usd)}"),
        ("Cost predicted", cells.money(progress.cost_predicted_usd)),
        ("Tokens", f"{progress.input_tokens:,} in, {progress.output_tokens:,} out"),
        ("Model calls", f"{progress.model_calls:,}"),
        ("Window", _window(row)),
        ("Wave", row.wave),
        ("Round", row.round + 1),
    ]


def _left(progress: Progress) -> str:
    if progress.eta_s is None or not progress.rows_left:
        return cells.NONE
    return cells.length(timedelta(seconds=progress.eta_s))


def _moment(moment: datetime | None, *, now: datetime) -> str:
    """Return a moment to the minute, without the day where it is today's."""
    if moment is None:
        return cells.NONE
    at = moment.astimezone(UTC)
    return f"{at:%H:%M} UTC" if at.date() == now.astimezone(UTC).date() else f"{at:%Y-%m-%d %H:%M} UTC"


def _window(row: Batch) -> str:
    return f"{row.window['start']} to {row.window['end']}, {row.window['zone']}" if row.window else "at any time"


def _notices(row: Any, progress: Progress) -> list[tuple[str, str, str]]:
    """Return tone, name and sentence of what somebody should know: why it waits, what will be late, what the scores said."""
    told = []
    if row.pause:
        told.append(("wary", f"Paused: {row.pause['code'].replace('_', ' ')}", _told(row.pause)))
    told += [("bad", str(fault.get("code", "failed")), _told(fault)) for fault in (row.fault, row.gathering) if fault]
    told += [("wary", "Too late", warned.sentence) for warned in progress.warnings]
    if row.scores:
        told.append(("bad" if row.publication == "held" else "calm", row.publication or "Not published", row.scores["sentence"]))
    return told


def _told(why: Mapping[str, Any]) -> str:
    """Return what operators read of a fault or a pause."""
    return masked_text(str(why.get("broke") or why.get("sentence", "")))


def _cause(cause: Any) -> tuple[object, ...]:
    newest = cells.NONE if cause.row_id is None else masked_text(cause.row_id)
    return cause.code, f"{cause.count:,}", newest, cells.NONE if cause.shard is None else cause.shard, cells.ago(cause.at)


def square(shard: Mapping[str, Any]) -> list[Any]:
    """Return one square of the heat-map: its tone, how full it is in percent, whether rows of it failed, and what it says."""
    state = str(shard["state"])
    told = (
        f"Shard {shard['index']}: {state}, {shard['done']:,} of {shard['rows']:,} rows, {shard['failed_rows']:,} failed, "
        f"attempt {shard['attempt']}, {cells.money(shard['cost_usd'])}"
    )
    return [cells.TONES.get(state, "calm"), 100 * shard["done"] // max(shard["rows"], 1), shard["failed_rows"] > 0, told]


def acts_of(row: Any, acts: Sequence[Act], address: Callable[[Any, str], str]) -> list[dict[str, Any]]:
    """Return every act with its form; those that cannot be done now are hidden, until they can."""
    return [
        {"name": str(act), "label": label, "means": means, "address": address(row, str(act)), "is_shown": act in acts}
        for act, (label, means) in LABELS.items()
    ]

"""Reads a provider's report of usage: CSV with a head, or JSON lines; one line a day and model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from quota.domain.errors import ReportInvalid
from quota.domain.reconciling import Key, Reported

COUNTS = ("requests", "input_tokens", "output_tokens", "cached_tokens")
FIELDS = ("day", "provider", "model", *COUNTS, "usd")
MOST = 2**53


def read(content: bytes, *, provider: str = "") -> dict[Key, Reported]:
    """Return what is reported; `provider` is whose report it is where its lines do not say. Lines of one key are added up.

    Raises ReportInvalid, naming line and field.
    """
    found: dict[Key, Reported] = {}
    for number, line in _lines(content):
        key, reported = _key(line, number, provider), _reported(line, number)
        found[key] = _sum(found[key], reported) if key in found else reported
    if not found:
        raise ReportInvalid("The report has no line.", line=1, field="day")
    return found


def _lines(content: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        raise ReportInvalid(f"The report is not UTF-8: {broken}.", line=1, field="") from None
    yield from _json_lines(text) if text.lstrip().startswith("{") else _table(text)


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, _object(line, number)


def _object(line: str, number: int) -> Mapping[str, Any]:
    try:
        value = json.loads(line, parse_float=Decimal)
    except ValueError as broken:
        raise ReportInvalid(f"Line {number} is not JSON: {broken}.", line=number, field="") from None
    if not isinstance(value, dict):
        raise ReportInvalid(f"Line {number} is not a JSON object.", line=number, field="")
    return value


def _table(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv.DictReader(text.splitlines())
    unknown = [name for name in ("day", "model", "input_tokens", "output_tokens") if name not in (rows.fieldnames or ())]
    if unknown:
        raise ReportInvalid(f"The head has no {unknown[0]!r}: columns are {', '.join(FIELDS)}.", line=1, field=unknown[0])
    yield from enumerate(rows, start=2)


def _key(line: Mapping[str, Any], number: int, provider: str) -> Key:
    try:
        day = date.fromisoformat(str(line.get("day")))
    except ValueError:
        raise _wrong(line, number, "day", "a day such as 2026-11-20") from None
    whose = str(line.get("provider") or provider)
    if not 0 < len(whose) <= 40:
        raise _wrong(line, number, "provider", "a provider's name; or say whose report it is")
    model = line.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 120:
        raise _wrong(line, number, "model", "a model's name")
    return Key(day, whose, model)


def _reported(line: Mapping[str, Any], number: int) -> Reported:
    counts = {name: _count(line, number, name) for name in COUNTS}
    if counts["cached_tokens"] > counts["input_tokens"]:
        raise _wrong(line, number, "cached_tokens", "at most the input tokens")
    return Reported(**counts, cost_usd=_money(line, number))


def _count(line: Mapping[str, Any], number: int, name: str) -> int:
    value = line.get(name)
    text = "" if value is None else str(value).strip()
    if not text and name in {"requests", "cached_tokens"}:
        return 0
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or int(text) > MOST:
        raise _wrong(line, number, name, "a whole number, not negative")
    return int(text)


def _money(line: Mapping[str, Any], number: int) -> Decimal | None:
    value = line.get("usd")
    if value is None or value == "":
        return None
    try:
        usd = Decimal(str(value))
    except InvalidOperation:
        raise _wrong(line, number, "usd", "US dollars") from None
    if isinstance(value, bool) or not usd.is_finite() or not 0 <= usd < 10**12:
        raise _wrong(line, number, "usd", "US dollars, not negative")
    return usd.quantize(Decimal("0.000001"))


def _wrong(line: Mapping[str, Any], number: int, name: str, wanted: str) -> ReportInvalid:
    return ReportInvalid(f"Line {number}, {name}: {str(line.get(name))[:80]!r} is not {wanted}.", line=number, field=name)


def _sum(one: Reported, other: Reported) -> Reported:
    costs = [each.cost_usd for each in (one, other) if each.cost_usd is not None]
    return Reported(
        requests=one.requests + other.requests,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cost_usd=sum(costs, Decimal(0)) if costs else None,
    )

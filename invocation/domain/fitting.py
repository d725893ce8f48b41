"""Fitting an output's values into typed cells. What does not fit leaves its cell empty: the whole output stands in its row as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache

from agents.domain.values import Json
from invocation.domain.columns import LEAST, MOST, Group, Kind, Many, Scalar

Fitter = Callable[[Json], object]


@cache
def fitter(kind: Kind) -> Fitter:
    """Return what turns a value into a cell of this kind: None for null, and for what does not fit."""
    match kind:
        case Many(of):
            return _many(fitter(of))
        case Group(fields):
            return _group({name: fitter(each) for name, each in fields})
        case plain:
            return _PLAIN[plain]


def sound(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair, which no file holds."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _many(one: Fitter) -> Fitter:
    return lambda value: [one(each) for each in value] if isinstance(value, list | tuple) else None


def _group(fields: Mapping[str, Fitter]) -> Fitter:
    return lambda value: {name: one(value.get(name)) for name, one in fields.items()} if isinstance(value, Mapping) else None


def _text(value: Json) -> str | None:
    return sound(value) if isinstance(value, str) else None


def _truth(value: Json) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: Json) -> int | None:
    """JSON Schema calls 3.0 an integer."""
    if not _is_number(value) or not LEAST <= value <= MOST:
        return None
    return int(value) if int(value) == value and LEAST <= int(value) <= MOST else None


def _real(value: Json) -> float | None:
    try:
        return float(value) if _is_number(value) else None
    except OverflowError:
        return None


def _json(value: Json) -> str | None:
    return None if value is None else json.dumps(value)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN: Mapping[Scalar, Fitter] = {
    Scalar.TEXT: _text,
    Scalar.TRUTH: _truth,
    Scalar.WHOLE: _whole,
    Scalar.REAL: _real,
    Scalar.JSON: _json,
}
"""The kinds that an output's columns may have."""

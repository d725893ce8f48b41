"""Fitting an output's values into typed cells. What does not fit leaves its cell empty: the whole output stands in its row as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from agents.domain.values import Json
from invocation.domain.columns import LEAST, MOST, Column, Group, Kind, Many, Scalar


def fitted(output: Mapping[str, Json], columns: Iterable[Column]) -> dict[str, object]:
    """Return the cells of the columns that the output fills."""
    return {column.name: fit(output.get(column.property), column.kind) for column in columns if column.property is not None}


def fit(value: Json, kind: Kind) -> object:
    """Return the value as a cell of this kind holds it; None for null, and for what does not fit."""
    if value is None:
        return None
    match kind:
        case Many(of):
            return [fit(each, of) for each in value] if isinstance(value, list | tuple) else None
        case Group(fields):
            return {name: fit(value.get(name), each) for name, each in fields} if isinstance(value, Mapping) else None
        case plain:
            return _PLAIN[plain](value)


def sound(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair, which no file holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _text(value: Json) -> str | None:
    return sound(value) if isinstance(value, str) else None


def _truth(value: Json) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(value: Json) -> int | None:
    """JSON Schema calls 3.0 an integer."""
    if not _is_number(value) or not LEAST <= value <= MOST:
        return None
    return int(value) if int(value) == value else None


def _real(value: Json) -> float | None:
    try:
        return float(value) if _is_number(value) else None
    except OverflowError:
        return None


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN: Mapping[Scalar, Callable[[Json], object]] = {
    Scalar.TEXT: _text,
    Scalar.TRUTH: _truth,
    Scalar.WHOLE: _whole,
    Scalar.REAL: _real,
    Scalar.JSON: json.dumps,
}
"""The kinds that an output's columns may have."""

"""JSON into values: a dataclass is read by its own annotations, fields that it does not know are passed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from gearbox_client.problems import UnreadableAnswer

T = TypeVar("T")
PARSED: Mapping[type, Callable[[str], Any]] = {datetime: datetime.fromisoformat, date: date.fromisoformat, Decimal: Decimal}


def reader(kind: type[T]) -> Callable[[Any], T]:
    """Return a function that reads this dataclass from JSON; it raises UnreadableAnswer, which names the field."""
    return lambda told: cast(T, _read(kind, told, kind.__name__))


def nothing(told: Any) -> None:
    """Read an answer that has no body."""


def _read(kind: Any, told: Any, at: str) -> Any:
    if kind is Any:
        return told
    if get_origin(kind) is not None:
        return _generic(kind, told, at)
    if is_dataclass(kind):
        return _object(cast(type, kind), _is(dict, told, at), at)
    return _parsed(kind, told, at) if kind in PARSED else _is(kind, told, at)


def _generic(kind: Any, told: Any, at: str) -> Any:
    """Read an optional value, a tuple of values, or an object that is left as it is."""
    if get_origin(kind) in {Union, UnionType}:
        return None if told is None else _read(next(each for each in get_args(kind) if each is not type(None)), told, at)
    if get_origin(kind) is tuple:
        return tuple(_read(get_args(kind)[0], each, f"{at}[{index}]") for index, each in enumerate(_is(list, told, at)))
    return _is(dict, told, at)


def _object(kind: type, told: dict[str, Any], at: str) -> Any:
    wanted = _hints(kind)
    missing = [name for name, (_, is_needed) in wanted.items() if is_needed and name not in told]
    if missing:
        raise UnreadableAnswer(f"{at}.{missing[0]} is missing from the answer.")
    return kind(**{name: _read(hint, told[name], f"{at}.{name}") for name, (hint, _) in wanted.items() if name in told})


@cache
def _hints(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return each field's type, and whether an answer must have it."""
    hints = get_type_hints(kind)
    return {each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING) for each in fields(kind)}


def _parsed(kind: type, told: Any, at: str) -> Any:
    try:
        return PARSED[kind](str(told) if isinstance(told, int | float) else _is(str, told, at))
    except (ValueError, InvalidOperation):
        raise UnreadableAnswer(f"{at} is {str(told)[:80]!r}, not a {kind.__name__}.") from None


def _is(kind: type, told: Any, at: str) -> Any:
    """Return what was told if it is of this type; true and false are no numbers, a whole number is one with a fraction too."""
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(told, allowed) or (isinstance(told, bool) and kind is not bool):
        raise UnreadableAnswer(f"{at} is a {type(told).__name__}, not a {kind.__name__}.")
    return told

"""JSON Schema, compiled once a schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs


class Unfit(ValueError):
    """A value does not fit its schema: where (a JSON pointer), what was found, and what the schema wants."""

    def __init__(self, *, pointer: str, found: Any, wanted: str) -> None:
        super().__init__(f"{pointer or '/'}: {wanted}")
        self.pointer = pointer
        self.found = found
        self.wanted = wanted


def check(value: Any, schema: Mapping[str, Any]) -> None:
    """Return if the value fits. Raises Unfit for the first field that does not, and for a value nested deeper than can be looked at."""
    validator = _known(schema)
    try:
        error = next(validator.iter_errors(value), None)
    except ValueError as unreadable:
        raise Unfit(pointer="", found=None, wanted=f"the value cannot be checked: {unreadable}") from None
    if error is not None:
        pointer = "".join(f"/{part}" for part in error.instance_path)
        named, found = _named(error)
        raise Unfit(pointer=pointer + named, found=found, wanted=error.message)


def fits(schema: Mapping[str, Any]) -> Callable[[Any], bool]:
    """Return what says of many values, quickly, whether each fits; one that cannot be looked at does not."""
    is_valid = _known(schema).is_valid

    def say(value: Any) -> bool:
        try:
            return bool(is_valid(value))
        except ValueError:
            return False

    return say


def check_storable(value: Any, pointer: str = "") -> None:
    """Return if PostgreSQL can keep the value: it takes no U+0000, and no half of a surrogate pair. Raises Unfit."""
    if isinstance(value, str):
        if not _is_storable(value):
            raise Unfit(pointer=pointer, found=ascii(value), wanted="text must be whole Unicode without U+0000")
    elif isinstance(value, Mapping):
        for key, below in value.items():
            check_storable(str(key), pointer)
            check_storable(below, f"{pointer}/{key}")
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            check_storable(below, f"{pointer}/{index}")


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _named(error: Any) -> tuple[str, Any]:
    """Return the property that is missing or too much, which the error places at the object around it."""
    if error.kind.name == "additionalProperties":
        name = error.kind.unexpected[0]
        return f"/{name}", error.instance[name]
    if error.kind.name == "required":
        return f"/{error.kind.property}", None
    return "", error.instance


MOST_KNOWN = 512
_seen: dict[int, tuple[Mapping[str, Any], Any]] = {}


def _known(schema: Mapping[str, Any]) -> Any:
    """Return the schema's validator; a schema object that was seen before, such as an endpoint's, is not even looked at."""
    found = _seen.get(id(schema))
    if found is None or found[0] is not schema:
        if len(_seen) >= MOST_KNOWN:
            _seen.clear()
        found = _seen[id(schema)] = (schema, _compiled(json.dumps(schema, sort_keys=True)))
    return found[1]


@lru_cache(maxsize=MOST_KNOWN)
def _compiled(schema: str) -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads(schema))

"""What the text of a CSV cell means, by the endpoint's input schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import cast

from agents.domain.values import Json

Read = Callable[[str], Json]
WHOLE = re.compile(r"[+-]?\d{1,18}")
DEEPEST = 8
TEXT = frozenset({"string"})
OF_VALUE: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class NotThat(ValueError):
    """The text is none of what the column may be, which `wanted` tells."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def reader(schema: Mapping[str, Json], column: str) -> Read:
    """Return what reads a column's cells: text where the schema says nothing of it, or lets it be text and it is nothing else.

    What it returns raises NotThat. An empty cell is absent, and is never read.
    """
    properties = schema.get("properties")
    below = properties.get(column) if isinstance(properties, Mapping) else None
    kinds = _kinds(below, schema, DEEPEST) if isinstance(below, Mapping) else TEXT
    if kinds <= TEXT:
        return str
    readers = [read for kind, read in _READERS.items() if kind in kinds]
    wanted = " or ".join(sorted(kinds))
    return lambda text: _first(text, readers, kinds, wanted)


def _first(text: str, readers: list[Read], kinds: frozenset[str], wanted: str) -> Json:
    for read in readers:
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    if "string" in kinds:
        return text
    raise NotThat(wanted)


def _kinds(schema: Mapping[str, Json], whole: Mapping[str, Json], depth: int) -> frozenset[str]:
    """Return the JSON types that a schema speaks of; none where it speaks of none."""
    if not depth:
        return frozenset()
    named = schema.get("type")
    found = {named} if isinstance(named, str) else set(named) if isinstance(named, list | tuple) else set()
    values = schema["enum"] if isinstance(schema.get("enum"), list | tuple) else [schema["const"]] if "const" in schema else []
    if not found:
        found |= {OF_VALUE[type(value)] for value in cast("list[Json]", values) if type(value) in OF_VALUE}
    for several in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(several)
        for part in parts if isinstance(parts, list | tuple) else ():
            found |= _kinds(part, whole, depth - 1) if isinstance(part, Mapping) else set()
    target = _target(schema.get("$ref"), whole)
    return frozenset(found | (_kinds(target, whole, depth - 1) if target is not None else set()))


def _target(reference: Json, whole: Mapping[str, Json]) -> Mapping[str, Json] | None:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found: Json = dict(whole)
    for part in reference[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _whole(text: str) -> Json:
    if not WHOLE.fullmatch(text):
        raise ValueError
    return int(text)


def _number(text: str) -> Json:
    """Whole numbers stay whole; `nan` and `inf` are no numbers of JSON, and `1_000` is none of CSV."""
    if WHOLE.fullmatch(text):
        return int(text)
    found = float(text)
    if not math.isfinite(found) or "_" in text:
        raise ValueError
    return found


def _truth(text: str) -> Json:
    word = text.casefold()
    if word not in {"true", "false"}:
        raise ValueError
    return word == "true"


def _structure(opening: str) -> Read:
    def read(text: str) -> Json:
        if not text.lstrip().startswith(opening):
            raise ValueError
        return cast("Json", json.loads(text, parse_constant=_refused))

    return read


def _refused(word: str) -> Json:
    raise ValueError(word)


def _nothing(text: str) -> Json:
    if text != "null":
        raise ValueError
    return None


_READERS: Mapping[str, Read] = {
    "integer": _whole,
    "number": _number,
    "boolean": _truth,
    "object": _structure("{"),
    "array": _structure("["),
    "null": _nothing,
}

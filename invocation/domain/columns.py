"""The columns of a dataset: our own around those of the endpoint's output, which its JSON Schema types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agents.domain.values import Json

DEEPEST = 6
"""What is nested deeper is one JSON text."""


class Scalar(StrEnum):
    """A kind of plain cell, by its name in Hive and Glue, whose JSON is a string."""

    TEXT = "string"
    WHOLE = "bigint"
    SMALL = "int"
    REAL = "double"
    TRUTH = "boolean"
    MONEY = "decimal(14,6)"
    MOMENT = "timestamp"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Many:
    """A list whose entries are all of one kind."""

    of: Kind


@dataclass(frozen=True, slots=True)
class Group:
    """An object with these fields and no others."""

    fields: tuple[tuple[str, Kind], ...]


Kind = Scalar | Many | Group


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its name, which no other has in whatever case, and the output's property that fills it; ours have none."""

    name: str
    kind: Kind
    property: str | None = None


OWN_FIRST = (Column("row_id", Scalar.TEXT), Column("input_sha256", Scalar.TEXT))
OWN_LAST = (
    Column("output", Scalar.JSON),
    Column("facts", Scalar.JSON),
    Column("input", Scalar.JSON),
    Column("error_code", Scalar.TEXT),
    Column("error", Scalar.TEXT),
    Column("error_cause", Scalar.TEXT),
    Column("agent", Scalar.TEXT),
    Column("model", Scalar.TEXT),
    Column("run_id", Scalar.TEXT),
    Column("traceparent", Scalar.TEXT),
    Column("input_tokens", Scalar.WHOLE),
    Column("output_tokens", Scalar.WHOLE),
    Column("cost_usd", Scalar.MONEY),
    Column("duration_ms", Scalar.WHOLE),
    Column("attempt", Scalar.SMALL),
    Column("finished_at", Scalar.MOMENT),
)
OWN_NAMES = frozenset(column.name for column in OWN_FIRST + OWN_LAST)
OUTPUT_PREFIX = "output_"
PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
UNPLAIN = re.compile("[^A-Za-z0-9_]")


def columns_of(schema: Mapping[str, Json]) -> tuple[Column, ...]:
    """Return every column of a dataset whose outputs have this schema, in order."""
    return (*OWN_FIRST, *_typed(schema), *OWN_LAST)


def _typed(schema: Mapping[str, Json]) -> Iterator[Column]:
    """Letters, digits and `_` of a property name its column.

    Where that is taken, as engines that know no case see it, it gets `output_` before it, as often as it takes.
    """
    taken = set(OWN_NAMES)
    for told, below in _mapping(_resolved(schema, schema, []).get("properties")).items():
        name = UNPLAIN.sub("_", told)
        while name.lower() in taken or not name:
            name = OUTPUT_PREFIX + name
        taken.add(name.lower())
        yield Column(name, kind_of(_mapping(below), _Way(schema)), told)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a part of the schema was reached: from which whole, how deep, and through which references."""

    root: Mapping[str, Json]
    depth: int = 1
    references: frozenset[str] = frozenset()


def kind_of(schema: Mapping[str, Json], way: _Way) -> Kind:
    """Return what holds every value of a schema: JSON text where no plain type does, as where it contains itself."""
    followed: list[str] = []
    found = _resolved(_without_null(schema), way.root, followed)
    types = _types(found)
    if way.depth > DEEPEST or len(types) != 1 or way.references & set(followed):
        return Scalar.JSON
    deeper = _Way(way.root, way.depth + 1, way.references | set(followed))
    match types[0]:
        case "array":
            return Scalar.JSON if "prefixItems" in found else Many(kind_of(_mapping(found.get("items")), deeper))
        case "object":
            return _group(found, deeper)
        case told:
            return PLAIN.get(told, Scalar.JSON)


PLAIN = {"string": Scalar.TEXT, "integer": Scalar.WHOLE, "number": Scalar.REAL, "boolean": Scalar.TRUTH}
LEAST, MOST = -(2**63), 2**63 - 1


def _group(schema: Mapping[str, Json], way: _Way) -> Kind:
    """Type an object only if it is closed: what it may hold beside its properties would be lost."""
    below = _mapping(schema.get("properties"))
    names = {name.lower() for name in below}
    if not below or schema.get("additionalProperties") is not False or len(names) < len(below) or not all(map(_is_plain, below)):
        return Scalar.JSON
    return Group(tuple((name, kind_of(_mapping(each), way)) for name, each in below.items()))


def _is_plain(name: str) -> bool:
    return PLAIN_NAME.fullmatch(name) is not None


def _types(schema: Mapping[str, Json]) -> Sequence[str]:
    """Return the types a value may have beside null; none where the schema does not say it plainly."""
    told = schema.get("type")
    if isinstance(told, str):
        return [told]
    if isinstance(told, list):
        return [str(each) for each in told if each != "null"]
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return sorted({_type_of(value) for value in values if value is not None}) if isinstance(values, list) else []


def _type_of(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    for told, kind in (("string", str), ("integer", int), ("number", float)):
        if isinstance(value, kind):
            return told
    return "other"


def _without_null(schema: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the other branch of what may also be null."""
    for word in ("anyOf", "oneOf"):
        branches = schema.get(word)
        if isinstance(branches, list):
            others = [branch for branch in branches if branch != {"type": "null"}]
            return _mapping(others[0]) if len(others) == 1 else {}
    return schema


def _resolved(schema: Mapping[str, Json], root: Mapping[str, Json], followed: list[str]) -> Mapping[str, Json]:
    """Follow `#/…` references and note them; one that leads nowhere, or around, is no type."""
    while isinstance(told := schema.get("$ref"), str):
        if told in followed or not told.startswith("#/"):
            return {}
        followed.append(told)
        found: Json = root
        for step in told.split("/")[1:]:
            found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
        schema = _without_null(_mapping(found))
    return schema


def _mapping(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def hive_type(kind: Kind) -> str:
    """Return the kind in the words of Hive, which Glue, Athena and Spark share."""
    match kind:
        case Many(of):
            return f"array<{hive_type(of)}>"
        case Group(fields):
            return f"struct<{','.join(f'{name}:{hive_type(each)}' for name, each in fields)}>"
        case Scalar.JSON:
            return str(Scalar.TEXT)
        case plain:
            return str(plain)

"""Partition columns of a dataset: which may be, and how a value becomes a folder's name, as in Hive."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote

from invocation.domain.columns import Column, Scalar

MOST_COLUMNS = 3
MOST_PARTITIONS = 100
"""A dataset with more folders than this would be a heap of small files."""
LONGEST_VALUE = 150
"""In the letters of a path. Folders' names have at most 255 bytes."""
OWN = frozenset({"agent", "model"})
KINDS = frozenset({Scalar.TEXT, Scalar.WHOLE, Scalar.TRUTH})
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class BadPartition(ValueError):
    """The dataset cannot be parted by these columns; the sentence says why."""


def chosen(names: Sequence[str], columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns by which a dataset is parted. Raises BadPartition."""
    able = {column.name: column for column in columns if column.name in OWN or (column.property is not None and column.kind in KINDS)}
    for name in names:
        if name not in able:
            raise BadPartition(f"{name!r} cannot part the dataset: choose among {', '.join(able)}.")
    if len(set(names)) < len(names) or len(names) > MOST_COLUMNS:
        raise BadPartition(f"Name at most {MOST_COLUMNS} columns, each once.")
    return tuple(able[name] for name in names)


def folder_of(values: Mapping[str, object]) -> str:
    """Return where rows with these values lie, such as `task=letter/language=en`; an empty text counts as no value."""
    return "/".join(f"{name}={_told(value)}" for name, value in values.items())


def is_many(folders: Collection[str]) -> bool:
    """Say whether so many folders, or so long ones, are no way to part a dataset."""
    return len(folders) > MOST_PARTITIONS or any(len(step) > LONGEST_VALUE for folder in folders for step in folder.split("/"))


def _told(value: object) -> str:
    if value is None or value == "":
        return NO_VALUE
    if isinstance(value, bool):
        return str(value).lower()
    return quote(str(value), safe="")

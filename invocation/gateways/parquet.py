"""Datasets as Parquet: staged parts, files that are split by size and parted by columns, and what makes a dataset whole.

`data/` and `errors/` hold what readers see, `_staging/` what they do not; `_manifest.json` names every file, `_SUCCESS` comes last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from invocation.domain.columns import Column, Group, Kind, Many, Scalar
from invocation.domain.fitting import fitter, sound
from invocation.gateways.stores import Store

STAGING = "_staging"
MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"
PARTIAL = "_PARTIAL"
"""The mark of what was finished of a batch that ended early."""
RESULTS = "data"
ERRORS = "errors"
ROWS_AT_ONCE = 4096


def schema(columns: Sequence[Column]) -> Any:
    """Return the columns as Arrow has them, in order."""
    import pyarrow as pa  # noqa: PLC0415  (only p3 workers and readers of datasets load it)

    return pa.schema([(column.name, arrow_type(column.kind)) for column in columns])


def arrow_type(kind: Kind) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    match kind:
        case Many(of):
            return pa.list_(arrow_type(of))
        case Group(fields):
            return pa.struct([(name, arrow_type(each)) for name, each in fields])
        case plain:
            return _PLAIN[plain](pa)


_PLAIN: Mapping[Scalar, Any] = {
    Scalar.TEXT: lambda pa: pa.string(),
    Scalar.WHOLE: lambda pa: pa.int64(),
    Scalar.SMALL: lambda pa: pa.int32(),
    Scalar.REAL: lambda pa: pa.float64(),
    Scalar.TRUTH: lambda pa: pa.bool_(),
    Scalar.MONEY: lambda pa: pa.decimal128(14, 6),
    Scalar.MOMENT: lambda pa: pa.timestamp("us", tz="UTC"),
    Scalar.JSON: lambda pa: pa.string(),
}


def write_part(store: Store, name: str, values: Mapping[str, Sequence[Any]], columns: Sequence[Column]) -> str:
    """Make rows durable in staging and return the part's name; written again it replaces itself.

    Our own columns come with their values in one list each, or are null; those of the output are filled from its JSON.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.Table.from_pydict(_cells(values, columns), schema=schema(columns))
    with store.open_whole(f"{STAGING}/{name}") as file:
        pq.write_table(table, file, compression="zstd")
    return name


def _cells(values: Mapping[str, Sequence[Any]], columns: Sequence[Column]) -> dict[str, Sequence[Any]]:
    nothing = [None] * len(values["row_id"])
    outputs = [_loaded(output) if output else {} for output in values.get("output", nothing)]
    cells = {**values, "error": [sound(error or "") for error in values.get("error", nothing)]}
    return {column.name: cells.get(column.name, nothing) if column.property is None else _filled(column, outputs) for column in columns}


def _filled(column: Column, outputs: Sequence[Mapping[str, Any]]) -> list[object]:
    fit, name = fitter(column.kind), column.property or ""
    return [fit(output.get(name)) for output in outputs]


def _loaded(output: str) -> Mapping[str, Any]:
    """Read what Python wrote: orjson takes neither NaN nor halves of surrogate pairs."""
    try:
        found: Mapping[str, Any] = orjson.loads(output)
    except orjson.JSONDecodeError:
        found = json.loads(output)
    return found


def read(store: Store, files: Sequence[str], columns: Sequence[Column], *, parted_by: Sequence[Column] = ()) -> Iterator[Any]:
    """Yield the files' rows as record batches of a few thousand, in order; a column that a file lacks is empty."""
    import pyarrow.dataset as ds  # noqa: PLC0415

    if files:
        paths = [store.full(file) for file in files]
        folders = ds.partitioning(schema(parted_by), flavor="hive") if parted_by else None
        found = ds.dataset(paths, schema=schema(columns), filesystem=store.filesystem, format="parquet", partitioning=folders)
        yield from found.to_batches(batch_size=ROWS_AT_ONCE, batch_readahead=4, fragment_readahead=8)


def finish(store: Store, facts: Mapping[str, Any], *, mark: str = SUCCESS) -> None:
    """Write the manifest, take away what it does not name, and set the one mark that the dataset is whole, or all that there will be."""
    store.write_whole(MANIFEST, orjson.dumps(dict(facts), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS, default=str))
    named = {file["file"] for files in facts["files"].values() for file in files}
    for folder in (RESULTS, ERRORS):
        for path, _ in store.list(folder):
            if path not in named:
                store.remove(path)
    for other in {SUCCESS, PARTIAL} - {mark}:
        store.remove(other)
    store.write_whole(mark, b"")


def reopen(store: Store) -> None:
    """Take the mark away: files of another round are about to appear beside those of the manifest."""
    store.remove(SUCCESS)
    store.remove(PARTIAL)


def is_whole(store: Store) -> bool:
    return store.exists(SUCCESS)


def read_manifest(store: Store, *, mark: str = SUCCESS) -> dict[str, Any]:
    """Return a whole dataset's manifest. Raises FileNotFoundError while the dataset is not whole."""
    store.size(mark)
    return written_manifest(store)


def written_manifest(store: Store) -> dict[str, Any]:
    """Return the manifest that was written last, whether or not the dataset is whole. Raises FileNotFoundError."""
    found: dict[str, Any] = orjson.loads(store.read(MANIFEST))
    return found


def rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield a whole dataset's result rows, a few thousand in memory at a time. Raises FileNotFoundError while it is not whole."""
    import pyarrow.dataset as ds  # noqa: PLC0415

    files = [store.full(file["file"]) for file in read_manifest(store)["files"]["results"]]
    if files:
        for batch in ds.dataset(files, filesystem=store.filesystem, format="parquet").to_batches(batch_size=ROWS_AT_ONCE):
            yield from batch.to_pylist()


def drop_part(store: Store, name: str) -> None:
    store.remove(f"{STAGING}/{name}")


def drop_staging(store: Store) -> None:
    store.remove_tree(STAGING)


def row_ids(store: Store, files: Sequence[str]) -> Iterator[str]:
    """Yield the files' row ids, in order."""
    for batch in read(store, files, [Column("row_id", Scalar.TEXT)]):
        yield from batch.column(0).to_pylist()


def combinations(
    store: Store, files: Sequence[str], columns: Sequence[Column], *, parted_by: Sequence[Column] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the values that rows without an error have in these columns; the same ones again now and then."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    names = [column.name for column in columns]
    for batch in read(store, files, [*columns, Column("error_code", Scalar.TEXT)], parted_by=parted_by):
        held = pa.Table.from_batches([batch])
        fine = held.filter(pc.equal(held["error_code"], ""))
        yield from fine.select(names).group_by(names).aggregate([]).to_pylist()


def mask(kept: Sequence[bool]) -> Any:
    """Return what a record batch is filtered by."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.array(kept, pa.bool_())

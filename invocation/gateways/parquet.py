"""Datasets as Parquet: staged parts, one compacted file a shard, and what makes a dataset whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from invocation.gateways.objects import beside_of, write_whole

STAGING = "_staging"
MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"


def schema() -> Any:
    """Return the columns of every dataset, in order."""
    import pyarrow as pa  # noqa: PLC0415  (only p3 workers and readers of datasets load it)

    return pa.schema(
        [
            ("row_id", pa.string()),
            ("input_sha256", pa.string()),
            ("text", pa.string()),
            ("output", pa.string()),
            ("facts", pa.string()),
            ("input", pa.string()),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("agent", pa.string()),
            ("model", pa.string()),
            ("run_id", pa.string()),
            ("traceparent", pa.string()),
            ("input_tokens", pa.int64()),
            ("output_tokens", pa.int64()),
            ("cost_usd", pa.decimal128(14, 6)),
            ("duration_ms", pa.int64()),
            ("attempt", pa.int32()),
            ("finished_at", pa.timestamp("us", tz="UTC")),
        ]
    )


def write_part(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Make a part durable in staging and return its name; written again it replaces itself."""
    import pyarrow as pa  # noqa: PLC0415

    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema())
    _write(folder / STAGING / name, [table])
    return name


def compact(folder: Path, parts: Sequence[str], *, shard: int) -> dict[str, Any] | None:
    """Publish a shard's parts as one file each for results and errors, and return what the manifest says of them."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    tables = [pq.read_table(folder / STAGING / part, schema=schema()) for part in parts]
    if not tables:
        return None
    whole = pa.concat_tables(tables)
    failed = pc.not_equal(whole["error_code"], "")
    return {
        "results": _publish(folder / "data" / f"part-{shard:05d}.parquet", whole.filter(pc.invert(failed)), folder),
        "errors": _publish(folder / "errors" / f"part-{shard:05d}.parquet", whole.filter(failed), folder),
    }


def finish(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest and then the mark that the dataset is whole."""
    write_whole(folder / MANIFEST, orjson.dumps(dict(facts), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS, default=str))
    write_whole(folder / SUCCESS, b"")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a whole dataset's manifest. Raises FileNotFoundError while the dataset is not whole."""
    (folder / SUCCESS).stat()
    found: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    return found


def rows(folder: Path, *, at_once: int = 500) -> Iterator[dict[str, Any]]:
    """Yield a whole dataset's result rows, a few hundred in memory at a time. Raises FileNotFoundError while it is not whole."""
    import pyarrow.dataset as ds  # noqa: PLC0415

    (folder / SUCCESS).stat()
    if not (folder / "data").exists():
        return  # every row failed
    for batch in ds.dataset(folder / "data", format="parquet", schema=schema()).to_batches(batch_size=at_once):
        yield from batch.to_pylist()


def drop_staging(folder: Path) -> None:
    import shutil  # noqa: PLC0415

    shutil.rmtree(folder / STAGING, ignore_errors=True)


def _publish(path: Path, table: Any, folder: Path) -> dict[str, Any] | None:
    if not table.num_rows:
        return None
    _write(path, [table])
    content = path.read_bytes()
    return {
        "file": str(path.relative_to(folder)),
        "rows": table.num_rows,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _write(path: Path, tables: Sequence[Any]) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = beside_of(path)
    with pq.ParquetWriter(beside, schema(), compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.rename(path)

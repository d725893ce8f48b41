"""Publishing: staged parts become whole files that everybody's readers understand, in a folder and in S3."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from invocation.gateways import compacting, parquet
from invocation.gateways.compacting import Sizes
from invocation.gateways.stores import Store, store_at
from invocation.models import Batch
from invocation.services import datasets, publishing
from invocation.services.publishing import DatasetTorn, Piece

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "stars": {"type": "integer"},
        "share": {"type": "number"},
        "is_new": {"type": "boolean"},
        "titles": {"type": "array", "items": {"type": "string"}},
        "task": {"enum": ["letter", "answer"]},
        "author": {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False},
        "more": {"type": "object"},
    },
}


def a_row(number: int, *, error: str = "", **output: Any) -> dict[str, Any]:
    told = {
        "text": f"text {number}",
        "stars": number % 5,
        "share": number / 7,
        "is_new": number % 2 == 0,
        "titles": ["monster"] * (number % 3),
        "task": "letter" if number % 2 else "answer",
        "author": {"name": f"n{number}"},
        "more": {"deep": [number]},
        **output,
    }
    return {
        "row_id": f"row-{number:05d}",
        "input_sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "output": None if error else json.dumps(told),
        "facts": None if error else "{}",
        "input": json.dumps({"number": number}),
        "error_code": error,
        "error": f"it said {error}" if error else "",
        "error_cause": "provider" if error else "",
        "agent": "trial@1",
        "model": "gearbox-offline-standard",
        "run_id": str(uuid4()),
        "traceparent": "",
        "input_tokens": number,
        "output_tokens": 2 * number,
        "cost_usd": None,
        "duration_ms": 5,
        "attempt": 1,
        "finished_at": NOW,
    }


def a_batch(location: str, *, partition_by: Sequence[str] = (), rows: int = 0, schema: Mapping[str, Any] = SCHEMA) -> Batch:
    """A batch as publishing sees it; nothing of it is asked of the database."""
    return Batch(
        tenant_id=uuid4(),
        endpoint="trial-batch@1",
        agent="trial@1",
        output=location,
        dataset={"schema": dict(schema), "partition_by": list(partition_by)},
        rows=rows,
        manifest_sha256="m",
    )


def staged(batch: Batch, rows: Sequence[Mapping[str, Any]], *, shard: int = 0, size: int = 40, prefix: str = "part") -> list[str]:
    blocks = {f"shard={shard:05d}/{prefix}-{start:05d}.parquet": rows[start : start + size] for start in range(0, len(rows), size)}
    return [datasets.write_part(batch, part, {name: [row[name] for row in block] for name in rows[0]}) for part, block in blocks.items()]


def piece(batch: Batch, rows: Sequence[Mapping[str, Any]], *, shard: int = 0, **terms: Any) -> Piece:
    return Piece(shard=shard, parts=staged(batch, rows, shard=shard), rows=len(rows), **terms)


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "dataset" if request.param == "local" else request.getfixturevalue("s3_folder"))


def ids_of(store: Store, facts: Mapping[str, Any], kind: str) -> Counter[str]:
    return Counter(parquet.row_ids(store, [file["file"] for file in facts["files"][kind]]))


def test_every_row_is_in_one_file_of_results_or_errors(location: str) -> None:
    batch = a_batch(location, rows=200)
    shards = [[a_row(number, error="no" if number % 10 == 0 else "") for number in range(start, start + 100)] for start in (0, 100)]
    facts = publishing.publish_pieces(batch, [piece(batch, rows, shard=index) for index, rows in enumerate(shards)])
    publishing.drop_staging(batch)
    store = store_at(location)

    assert [path for path, _ in store.list()] == [
        "_SUCCESS",
        "_manifest.json",
        "data/part-00000-00-000.parquet",
        "data/part-00001-00-000.parquet",
        "errors/part-00000-00-000.parquet",
        "errors/part-00001-00-000.parquet",
    ]
    assert (facts["rows"], facts["results"], facts["errors"], facts["partial"]) == (200, 180, 20, False)
    assert ids_of(store, facts, "errors") == Counter(f"row-{number:05d}" for number in range(0, 200, 10))
    assert sum((ids_of(store, facts, kind) for kind in ("results", "errors")), Counter()) == Counter(f"row-{n:05d}" for n in range(200))
    assert parquet.read_manifest(store) == facts


def test_the_manifest_is_true_of_every_file(location: str) -> None:
    batch = a_batch(location, partition_by=["task"])
    facts = publishing.publish_pieces(batch, [piece(batch, [a_row(number, error="no" * (number == 3)) for number in range(50)])])
    store = store_at(location)

    for file in [*facts["files"]["results"], *facts["files"]["errors"]]:
        content = store.read(file["file"])
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert pq.ParquetFile(pa.BufferReader(content)).metadata.num_rows == file["rows"]
        assert pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0).column(0).compression == "ZSTD"
    assert facts["bytes"] == sum(file["bytes"] for kind in ("results", "errors") for file in facts["files"][kind])


def test_outputs_have_typed_columns(location: str) -> None:
    batch = a_batch(location)
    publishing.publish_pieces(batch, [piece(batch, [a_row(number) for number in range(3)])])
    store = store_at(location)
    found = ds.dataset(store.full("data"), filesystem=store.filesystem).to_table()

    types = {field.name: str(field.type) for field in found.schema}
    assert {name: types[name] for name in SCHEMA["properties"]} == {
        "text": "string",
        "stars": "int64",
        "share": "double",
        "is_new": "bool",
        "titles": "list<element: string>",
        "task": "string",
        "author": "struct<name: string>",
        "more": "string",
    }
    assert (types["cost_usd"], types["finished_at"], types["attempt"]) == ("decimal128(14, 6)", "timestamp[us, tz=UTC]", "int32")
    last = found.to_pylist()[2]
    assert (last["titles"], last["author"], json.loads(last["more"])) == (["monster"] * 2, {"name": "n2"}, {"deep": [2]})
    assert last["finished_at"] == NOW
    assert json.loads(last["output"])["stars"] == last["stars"] == 2


def test_a_large_shard_is_split_into_files(location: str) -> None:
    batch = a_batch(location)
    rows = [a_row(number, text=hashlib.sha256(str(number).encode()).hexdigest() * 4) for number in range(400)]
    limit = 30_000
    facts = publishing.publish_pieces(batch, [piece(batch, rows)], sizes=Sizes(file=limit, group=12_000))
    files = facts["files"]["results"]

    assert len(files) > 2
    assert [file["file"] for file in files] == [f"data/part-00000-00-{number:03d}.parquet" for number in range(len(files))]
    assert sum(file["rows"] for file in files) == 400
    assert ids_of(store_at(location), facts, "results") == Counter(row["row_id"] for row in rows)


def test_results_are_parted_by_columns_and_errors_are_not(location: str) -> None:
    batch = a_batch(location, partition_by=["task", "is_new"])
    rows = [a_row(number, error="no" * (number == 5), **({"task": None} if number == 6 else {})) for number in range(20)]
    facts = publishing.publish_pieces(batch, [piece(batch, rows)])
    store = store_at(location)

    assert [file["file"].rsplit("/", 1)[0] for file in facts["files"]["results"]] == [
        "data/task=__HIVE_DEFAULT_PARTITION__/is_new=true",
        "data/task=answer/is_new=true",
        "data/task=letter/is_new=false",
    ]
    assert [file["file"] for file in facts["files"]["errors"]] == ["errors/part-00000-00-000.parquet"]
    first = pq.read_schema(pa.BufferReader(store.read(facts["files"]["results"][0]["file"])))
    assert not {"task", "is_new"} & set(first.names)
    found = ds.dataset(store.full("data"), filesystem=store.filesystem, partitioning="hive").to_table()
    assert Counter(found["task"].to_pylist()) == Counter({None: 1, "answer": 9, "letter": 9})


def test_too_many_values_part_nothing_and_the_manifest_says_so(location: str) -> None:
    batch = a_batch(location, partition_by=["text"])
    facts = publishing.publish_pieces(batch, [piece(batch, [a_row(number) for number in range(150)])])

    assert [file["file"] for file in facts["files"]["results"]] == ["data/part-00000-00-000.parquet"]
    assert (facts["partition_by"], facts["results"]) == ([], 150)
    assert "more than 100" in facts["partitioning"]


def test_rows_that_are_missing_are_noticed(location: str) -> None:
    batch = a_batch(location)
    rows = [a_row(number) for number in range(50)]
    wanted = Piece(shard=0, parts=staged(batch, rows), rows=51)

    with pytest.raises(DatasetTorn, match="51 rows were committed, and its files hold 50"):
        publishing.publish_pieces(batch, [wanted])
    assert not parquet.is_whole(store_at(location))
    assert len(store_at(location).list("_staging")) == 2


def test_published_again_it_is_the_same(location: str) -> None:
    batch = a_batch(location)
    one = piece(batch, [a_row(number) for number in range(50)])
    first = publishing.publish_pieces(batch, [one])
    store = store_at(location)
    before = {path: store.read(path) for path, _ in store.list()}

    assert publishing.publish_pieces(batch, [one]) == first
    store.remove("_manifest.json")
    store.remove("_SUCCESS")
    assert publishing.publish_pieces(batch, [one]) == first
    assert {path: store.read(path) for path, _ in store.list()} == before


def test_a_crash_before_the_manifest_leaves_nothing_behind(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies while a shard's second file is written; who goes on cuts the files otherwise."""
    batch = a_batch(location)
    rows = [a_row(number, text=hashlib.sha256(str(number).encode()).hexdigest() * 4) for number in range(400)]
    one, small = piece(batch, rows), Sizes(file=20_000, group=12_000)
    with monkeypatch.context() as dying:
        dying.setattr(compacting._File, "finish", _breaks_at(2, compacting._File.finish))
        with pytest.raises(RuntimeError, match="out of luck"):
            publishing.publish_pieces(batch, [one], sizes=small)
    store = store_at(location)
    assert [path for path, _ in store.list("data")] == ["data/part-00000-00-000.parquet", "data/part-00000-00-001.parquet"]
    assert store.remove_abandoned(before=datetime.now(UTC).timestamp() + 60) == 0

    facts = publishing.publish_pieces(batch, [one])
    assert [path for path, _ in store.list("data")] == ["data/part-00000-00-000.parquet"]
    assert facts["results"] == 400


def _breaks_at(count: int, real: Any) -> Any:
    left = iter(range(count))

    def finish(file: Any) -> Any:
        if next(left, None) is None:
            raise RuntimeError("out of luck")
        return real(file)

    return finish


def test_the_last_of_a_superseded_row_counts(location: str) -> None:
    batch = a_batch(location)
    first = [a_row(number, error="no" * (number % 7 == 0)) for number in range(60)]
    again = {row["row_id"] for row in first if row["error_code"]}
    second = [a_row(number, error="still" * (number == 21), text="again") for number in range(0, 60, 7)]
    parts = [*staged(batch, first), *staged(batch, second, prefix="again")]
    facts = publishing.publish_pieces(batch, [Piece(shard=0, parts=parts, rows=60, superseded=again)])
    store = store_at(location)

    assert (facts["results"], facts["errors"]) == (59, 1)
    assert ids_of(store, facts, "errors") == Counter(["row-00021"])
    found = {row["row_id"]: row["text"] for row in parquet.rows(store)}
    assert len(found) == 59
    assert {row_id for row_id, text in found.items() if text == "again"} == again - {"row-00021"}


@pytest.mark.parametrize("partition_by", [[], ["task"]])
def test_a_later_round_takes_over_what_the_round_before_published(location: str, partition_by: list[str]) -> None:
    batch = a_batch(location, partition_by=partition_by, rows=60)
    first = [a_row(number, error="no" * (number % 7 == 0)) for number in range(60)]
    one = piece(batch, first)
    before = publishing.publish_pieces(batch, [one])
    publishing.drop_staging(batch)
    batch.round = 1
    again = {row["row_id"] for row in first if row["error_code"]}
    second = staged(batch, [a_row(number, text="again") for number in range(0, 60, 7)], prefix="again")
    pieces = [Piece(shard=0, parts=second, rows=60, superseded=again)]
    facts = publishing.publish_pieces(batch, pieces)
    store = store_at(location)

    assert (facts["round"], facts["results"], facts["errors"]) == (1, 60, 0)
    assert ids_of(store, facts, "results") == Counter(row["row_id"] for row in first)
    named = {file["file"] for file in facts["files"]["results"]}
    assert {path for path, _ in store.list("data")} == named
    assert not named & {file["file"] for file in before["files"]["results"]}
    assert not store.list("errors")
    publishing.drop_staging(batch)
    assert publishing.publish_pieces(batch, pieces) == facts


def test_duckdb_pandas_and_pyarrow_read_both_datasets(tmp_path: Path) -> None:
    batch = a_batch(str(tmp_path))
    publishing.publish_pieces(batch, [piece(batch, [a_row(number, error="no" * (number % 4 == 0)) for number in range(20)])])
    publishing.drop_staging(batch)

    with duckdb.connect() as connection:
        told = f"SELECT count(*), sum(stars), max(list_count(titles)), max(author.name) FROM '{tmp_path}/data/*.parquet'"
        assert connection.sql(told).fetchall() == [(15, 30, 2, "n9")]
        told = f"SELECT DISTINCT error_code, error_cause FROM '{tmp_path}/errors/*.parquet'"
        assert connection.sql(told).fetchall() == [("no", "provider")]
    frame = pd.read_parquet(tmp_path / "data")
    assert (len(frame), frame["stars"].sum(), list(frame["titles"].iloc[0])) == (15, 30, ["monster"])
    assert pd.read_parquet(tmp_path / "errors")["error"].tolist() == ["it said no"] * 5
    assert ds.dataset(tmp_path / "data").count_rows() == 15
    assert ds.dataset(tmp_path / "errors").to_table(columns=["row_id", "error_code"]).num_rows == 5


def test_they_read_a_parted_dataset_too(tmp_path: Path) -> None:
    batch = a_batch(str(tmp_path), partition_by=["task"])
    publishing.publish_pieces(batch, [piece(batch, [a_row(number, task="a/b c" if number % 4 else "ü=1") for number in range(20)])])

    with duckdb.connect() as connection:
        told = f"SELECT task, count(*) FROM read_parquet('{tmp_path}/data/**/*.parquet', hive_partitioning = true) GROUP BY task ORDER BY 2"
        assert connection.sql(told).fetchall() == [("ü=1", 5), ("a/b c", 15)]
    frame = pd.read_parquet(tmp_path / "data")
    assert Counter(frame["task"]) == Counter({"a/b c": 15, "ü=1": 5})
    found = ds.dataset(tmp_path / "data", partitioning="hive")
    assert found.count_rows(filter=ds.field("task") == "a/b c") == 15

"""Publishing a batch's rows: each shard's parts become whole files, and the dataset is whole when its manifest says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Any

import structlog

from invocation.domain import partitions
from invocation.domain.columns import Column, hive_type
from invocation.gateways import parquet
from invocation.gateways.compacting import USUAL, Layout, Sizes, publication
from invocation.gateways.stores import Store
from invocation.models import Batch, BatchRow, Shard
from invocation.services import datasets

log = structlog.get_logger()
KINDS = ("results", "errors")


class DatasetTorn(RuntimeError):
    """A shard's files hold another number of rows than were committed. The dataset is not whole, and nothing was taken from staging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A shard's share of the dataset: its staged parts in the order of their commits, and how many rows were committed.

    A row whose id is in `superseded` occurs more than once, as when it failed and was run again: the last one counts.
    """

    shard: int
    parts: Sequence[str]
    rows: int
    superseded: AbstractSet[str] = frozenset()


def publish(batch: Batch) -> Mapping[str, Any]:
    """Write the dataset's files, its manifest and the mark that it is whole; return the manifest. Raises DatasetTorn.

    Again after a crash it writes the same files. Staging stays: `drop_staging` when it is on record that the batch has ended.
    """
    return publish_pieces(batch, pieces_of(batch))


def publish_part(batch: Batch) -> None:
    """Publish what was finished of a batch that ended early, if anything was, under another mark. Raises DatasetTorn."""
    pieces = [piece for piece in pieces_of(batch) if piece.rows]
    if pieces:
        publish_pieces(batch, pieces, mark=parquet.PARTIAL)


def pieces_of(batch: Batch) -> list[Piece]:
    """Return what the checkpoints say is finished of each shard."""
    return [
        Piece(
            shard=shard.index,
            parts=shard.parts,
            rows=shard.position + sum(end - start for start, end in shard.ahead),
            superseded=_run_again(shard) if shard.round else frozenset(),
        )
        for shard in batch.shards.order_by("index")
    ]


def _run_again(shard: Shard) -> frozenset[str]:
    again = BatchRow.objects.filter(batch_id=shard.batch_id, shard=shard.index, round__gt=0)
    return frozenset(again.values_list("row_id", flat=True))


def publish_pieces(batch: Batch, pieces: Sequence[Piece], *, mark: str = parquet.SUCCESS, sizes: Sizes = USUAL) -> Mapping[str, Any]:
    """Do the same with these pieces.

    In a later round of the batch (rows that failed were run again) the files of the round before are read with the new parts
    and written under new names; they go once the manifest no longer names them.
    """
    store = datasets.store_of(batch)
    before = _before(store)
    facts = before if before and before["round"] == batch.round else _written(batch, _Work.of(batch, pieces, sizes, before=before))
    parquet.finish(store, facts, mark=mark)
    return facts


def _written(batch: Batch, work: _Work) -> Mapping[str, Any]:
    parquet.reopen(work.store)
    return _facts(batch, work, [_publish(work, piece) for piece in work.pieces])


def drop_staging(batch: Batch) -> None:
    """Remove the parts of a batch whose dataset is whole."""
    parquet.drop_staging(datasets.store_of(batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One publication: where, what, how, and what the round before left."""

    store: Store
    round: int
    pieces: Sequence[Piece]
    layout: Layout
    given_up: str
    before: Mapping[str, Any] | None

    @classmethod
    def of(cls, batch: Batch, pieces: Sequence[Piece], sizes: Sizes, *, before: Mapping[str, Any] | None) -> _Work:
        store, columns = datasets.store_of(batch), datasets.columns_of(batch)
        asked = partitions.chosen(datasets.partition_by(batch), columns)
        work = cls(store=store, round=batch.round, pieces=pieces, layout=Layout(columns=columns, sizes=sizes), given_up="", before=before)
        if not asked:
            return work
        told = _too_many(work, asked)
        layout = Layout(columns=columns, parted_by=() if told else asked, sizes=sizes)
        return cls(store=store, round=batch.round, pieces=pieces, layout=layout, given_up=told, before=before)

    @property
    def parted_before(self) -> Sequence[Column]:
        """By what the files of the round before are parted."""
        names = self.before["partition_by"] if self.before else ()
        return [column for column in self.layout.columns if column.name in names]

    def old_files(self, piece: Piece, kind: str) -> list[str]:
        files = self.before["files"][kind] if self.before else ()
        return [file["file"] for file in files if file["shard"] == piece.shard]

    def parts(self, piece: Piece) -> list[str]:
        """Return the piece's parts in staging, all of this round: a round that was published leaves none on record."""
        return [f"{parquet.STAGING}/{part}" for part in piece.parts]


def _before(store: Store) -> Mapping[str, Any] | None:
    try:
        return parquet.written_manifest(store)
    except FileNotFoundError:
        return None


def _too_many(work: _Work, asked: Sequence[Column]) -> str:
    """Say why the results are not parted as asked: nothing is lost by it, and a heap of tiny files would be of use to nobody."""
    found: set[str] = set()
    for piece in work.pieces:
        sources = ((work.old_files(piece, "results"), work.parted_before), (work.parts(piece), ()))
        for files, parted_by in sources:
            for values in parquet.combinations(work.store, files, asked, parted_by=parted_by):
                found.add(partitions.folder_of(values))
                if partitions.is_many(found):
                    return f"The results are not parted: more than {partitions.MOST_PARTITIONS} values, or one too long for a folder."
    return ""


def _publish(work: _Work, piece: Piece) -> Mapping[str, list[dict[str, Any]]]:
    name = f"part-{piece.shard:05d}-{work.round:02d}"
    with publication(work.store, work.layout, name=name) as open_files:
        open_files.add(_rows(work, piece))
        found = open_files.finish()
    published = sum(file["rows"] for kind in KINDS for file in found[kind])
    if published != piece.rows:
        raise DatasetTorn(f"Shard {piece.shard}: {piece.rows} rows were committed, and its files hold {published}.")
    return {kind: [{**file, "shard": piece.shard} for file in found[kind]] for kind in KINDS}


def _rows(work: _Work, piece: Piece) -> Iterator[Any]:
    columns = work.layout.columns
    batches = chain(
        parquet.read(work.store, work.old_files(piece, "results"), columns, parted_by=work.parted_before),
        parquet.read(work.store, work.old_files(piece, "errors"), columns),
        parquet.read(work.store, work.parts(piece), columns),
    )
    return _last_ones(batches, _last_places(work, piece)) if piece.superseded else batches


def _last_places(work: _Work, piece: Piece) -> Mapping[str, int]:
    """Return at which place among all rows each superseded one counts."""
    files = [*work.old_files(piece, "results"), *work.old_files(piece, "errors"), *work.parts(piece)]
    return {row_id: place for place, row_id in enumerate(parquet.row_ids(work.store, files)) if row_id in piece.superseded}


def _last_ones(batches: Iterable[Any], places: Mapping[str, int]) -> Iterator[Any]:
    start = 0
    for batch in batches:
        ids = batch.column("row_id").to_pylist()
        yield batch.filter(parquet.mask([places.get(row_id, place) == place for place, row_id in enumerate(ids, start)]))
        start += len(ids)


def _facts(batch: Batch, work: _Work, published: Sequence[Mapping[str, list[dict[str, Any]]]]) -> Mapping[str, Any]:
    files = {kind: [file for each in published for file in each[kind]] for kind in KINDS}
    rows = {kind: sum(file["rows"] for file in files[kind]) for kind in KINDS}
    facts = {
        "batch": str(batch.id),
        "endpoint": batch.endpoint,
        "agent": batch.agent,
        "manifest_sha256": batch.manifest_sha256,
        "round": batch.round,
        "rows": sum(rows.values()),
        "rows_of_manifest": batch.rows,
        "partial": sum(rows.values()) < batch.rows,
        **rows,
        "bytes": sum(file["bytes"] for kind in KINDS for file in files[kind]),
        "columns": [{"name": column.name, "type": hive_type(column.kind)} for column in work.layout.columns],
        "partition_by": [column.name for column in work.layout.parted_by],
        "files": files,
    }
    return {**facts, "partitioning": work.given_up} if work.given_up else facts

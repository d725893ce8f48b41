"""Publishing a shard: a stream of rows, a few megabytes at a time, into files split by size and parted by columns."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO

from invocation.domain.columns import Column
from invocation.domain.partitions import folder_of
from invocation.gateways.parquet import ERRORS, RESULTS, schema
from invocation.gateways.stores import Store


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large things become, in bytes: a file, and the rows in memory that become one row group a partition."""

    file: int = 256 * 1024 * 1024
    group: int = 16 * 1024 * 1024


USUAL = Sizes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a dataset is written: its columns, those by which its results are parted, and the sizes."""

    columns: Sequence[Column]
    parted_by: Sequence[Column] = ()
    sizes: Sizes = USUAL


class Publication:
    """The files of one shard's results and errors."""

    def __init__(self, store: Store, layout: Layout, name: str, around: ExitStack) -> None:
        self._group = layout.sizes.group
        self._results = _Files(store, RESULTS, layout, name, around)
        self._errors = _Files(store, ERRORS, Layout(columns=layout.columns, sizes=layout.sizes), name, around)

    def add(self, batches: Iterable[Any]) -> None:
        """Write rows; those with an error code are errors."""
        import pyarrow.compute as pc  # noqa: PLC0415  (only p3 workers load it)

        for table in _tables(batches, self._group):
            failed = pc.not_equal(table["error_code"], "")
            self._results.add(table.filter(pc.invert(failed)))
            self._errors.add(table.filter(failed))

    def finish(self) -> Mapping[str, list[dict[str, Any]]]:
        """Let the files be seen, and return what the manifest says of them."""
        return {"results": self._results.finish(), "errors": self._errors.finish()}


@contextmanager
def publication(store: Store, layout: Layout, *, name: str) -> Iterator[Publication]:
    """Open a shard's publication. What was not finished when the block ends is not seen by anyone."""
    with ExitStack() as around:
        yield Publication(store, layout, name, around)


class _Files:
    """The files of one kind, one at a time in each partition."""

    def __init__(self, store: Store, kind: str, layout: Layout, name: str, around: ExitStack) -> None:
        self._store, self._kind, self._name, self._around = store, kind, name, around
        self._names = [column.name for column in layout.parted_by]
        self._schema = schema([column for column in layout.columns if column not in layout.parted_by])
        self._largest = layout.sizes.file
        self._open: dict[str, _File] = {}
        self._counts: dict[str, int] = {}
        self._facts: list[dict[str, Any]] = []

    def add(self, table: Any) -> None:
        if table.num_rows:
            for folder, rows in _parted(table, self._names):
                self._file_for(folder, rows.nbytes).write(rows)

    def finish(self) -> list[dict[str, Any]]:
        for folder in list(self._open):
            self._close(folder)
        return sorted(self._facts, key=lambda facts: str(facts["file"]))

    def _file_for(self, folder: str, coming: int) -> _File:
        found = self._open.get(folder)
        if found is not None and found.length + coming > self._largest:
            self._close(folder)
            found = None
        if found is None:
            number = self._counts[folder] = self._counts.get(folder, -1) + 1
            path = "/".join(part for part in (self._kind, folder, f"{self._name}-{number:03d}.parquet") if part)
            found = self._open[folder] = _File(self._store, path, self._schema)
            self._around.push(found.leave)
        return found

    def _close(self, folder: str) -> None:
        self._facts.append(self._open.pop(folder).finish())


class _File:
    """One file that is being written."""

    def __init__(self, store: Store, path: str, columns: Any) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._path, self._columns, self._rows = path, columns, 0
        self._stack = ExitStack()
        self._sink = _Measured(self._stack.enter_context(store.open_whole(path)))
        self._writer = self._stack.enter_context(pq.ParquetWriter(self._sink, columns, compression="zstd"))

    @property
    def length(self) -> int:
        return self._sink.tell()

    def write(self, table: Any) -> None:
        self._writer.write_table(table.select(self._columns.names))
        self._rows += table.num_rows

    def finish(self) -> dict[str, Any]:
        self._stack.close()
        return {"file": self._path, "rows": self._rows, "bytes": self.length, "sha256": self._sink.digest}

    def leave(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Break off what was not finished; after `finish` nothing is left to do."""
        broken = error or RuntimeError(f"{self._path} was not finished.")
        try:
            self._stack.__exit__(type(broken), broken, trace)
        except RuntimeError as told:
            if told is not broken:
                raise


class _Measured(io.RawIOBase):
    """Hands bytes on, and counts and hashes them on the way."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._length, self._hash = file, 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, content: Any) -> int:
        self._file.write(content)
        self._hash.update(content)
        self._length += len(content)
        return len(content)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _tables(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """Put batches together until they are worth a row group."""
    import pyarrow as pa  # noqa: PLC0415

    held: list[Any] = []
    length = 0
    for batch in batches:
        held.append(batch)
        length += batch.nbytes
        if length >= size:
            yield pa.Table.from_batches(held)
            held, length = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _parted(table: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield each partition's folder and its rows: those without a value, and those with an empty text, share one."""
    import pyarrow.compute as pc  # noqa: PLC0415

    if not names:
        yield "", table
        return
    folders = [folder_of(values) for values in table.select(list(names)).to_pylist()]
    for folder in dict.fromkeys(folders):
        yield folder, table.filter(pc.equal(_array(folders), folder))


def _array(values: Sequence[str]) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.array(values)

"""A few bytes that unpack to next to nothing, again and again, end; who wants the reading to end is asked meanwhile."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import MOST_BLANK_LINES, form_of, naming
from invocation.gateways.manifests import packing
from invocation.gateways.manifests.opening import Ways, opened
from invocation.gateways.manifests.tap import Tap
from tests.integration.invocation.manifests.test_broken_files import SCHEMA, refused, values, zstd_in_a_stream


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_blank_lines_without_end_are_refused(tmp_path: Path, name: str) -> None:
    path, row = tmp_path / name, {"rows.jsonl": b'{"text": "a"}\n', "rows.csv": b"text\na\n"}[name]
    path.write_bytes(row + b"\r\n" * (MOST_BLANK_LINES + 2) + row)

    assert refused(path).facts["line"] - MOST_BLANK_LINES in range(5)
    path.write_bytes(row + b"\n" * (MOST_BLANK_LINES - 2) + row)
    assert values(path)[0] == {"text": "a"}


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("zst", zstd_in_a_stream)])
def test_frames_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(packing, "MOST_FRAMES", 100)
    path = tmp_path / f"rows.jsonl.{ending}"
    path.write_bytes(pack(b"") * 99 + pack(b"{}\n"))
    assert values(path) == [{}]
    path.write_bytes(pack(b"") * 100 + pack(b"{}\n"))

    assert "more than 100" in refused(path).detail


@pytest.mark.parametrize("pieces", [[b"\n" * 4_000_000], [b""] * 1_000], ids=["blank lines", "empty frames"])
def test_a_reading_is_heard_of_where_few_bytes_take_long(tmp_path: Path, pieces: list[bytes]) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(b"".join(map(gzip.compress, pieces)))
    heard: list[int] = []
    ways = Ways(form=form_of(path.name), schema=SCHEMA, by=naming(None, SCHEMA))
    with opened(lambda: path.open("rb"), ways, tap=Tap(path.open("rb"), heard=heard.append)) as found, suppress(ManifestInvalid):
        list(found.reader.records())

    assert path.stat().st_size < 100_000
    assert len(heard) > 4

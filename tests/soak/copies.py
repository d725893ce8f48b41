"""What must hold of a batch when all is over: each row once, each call accounted for, the dataset whole and what it says of itself."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.soak.ground import until
from tests.soak.press import ROWS_IN_FLIGHT, Press, is_torn, name

SPARE = 1.02
"""Calls for a row, all in all, besides those of rows that were under way in a process that died."""
LEDGER = """
SELECT count(*), count(DISTINCT call_id), sum(cost_usd), sum(input_tokens + output_tokens)
FROM quota_batchledgerentry WHERE parent_id = %(id)s
"""
SPENT = """
SELECT sum(calls), sum(cost_usd), sum(input_tokens + output_tokens), sum(position), sum(failed_rows), bool_and(state = 'completed'),
       bool_and(owner IS NULL), sum(reserved_calls)
FROM invocation_shard WHERE batch_id = %(id)s
"""
LINES_OF_RUNS = "SELECT run_id::text, count(*) FROM quota_batchledgerentry WHERE parent_id = %(id)s GROUP BY run_id"
LINES = "SELECT * FROM quota_batchledgerentry WHERE parent_id = %(id)s AND run_id::text = ANY(%(runs)s)"
FAILED = "SELECT row_id FROM invocation_batchrow WHERE batch_id = %(id)s AND error_code <> ''"


def all_is_well(here: Press, *, kills: int, within: float, most_under_way: int | None = None) -> str:
    """Wait until the batch is completed and its staging gone; then everything holds. Returns the figures as a sentence.

    `most_under_way` is how many rows the killed processes could have called for at once; nothing where what each
    had called for since its last checkpoint is too much of a batch that is short.
    """
    until(lambda: _ended(here), lambda state: state == "completed", within=within)
    until((here.output / "_staging").exists, lambda there: not there, within=30)
    runs = _each_row_is_there_once(here)
    _calls_are_accounted_for(here, runs, kills=kills)
    _manifest_is_true(here.output)
    if most_under_way is not None:
        assert here.provider.calls <= SPARE * here.rows_wanted + most_under_way
    lost = sum(here.lost.values())
    calls = f"{here.provider.calls} calls ({here.provider.calls / here.rows_wanted:.4f} a row)"
    return f"{here.rows_wanted} rows, {calls}, {lost} rows under way in {kills} killed processes, {here.provider.cut_off} calls cut off"


def _ended(here: Press) -> str:
    here.tend()
    return here.state


def _each_row_is_there_once(here: Press) -> set[str]:
    """Return the ids of the runs that count."""
    lines = range(1, here.rows_wanted + 1)
    results, errors = _read(here.output / "data"), _read(here.output / "errors")
    assert sorted(row["row_id"] for row in results) == [name(line) for line in lines if not is_torn(line)]
    assert sorted(row["row_id"] for row in errors) == [name(line) for line in lines if is_torn(line)]
    assert {row["name"] == row["row_id"] for row in results} == {True}
    assert {row["error_code"] for row in errors} == {"agent_error"}
    assert sorted(row[0] for row in here.rows(FAILED, id=here.batch_id)) == sorted(row["row_id"] for row in errors)
    runs = {row["run_id"] for row in (*results, *errors)}
    assert len(runs) == here.rows_wanted
    return runs


def _read(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("**/*.parquet")) for row in pq.read_table(file).to_pylist()]


def _calls_are_accounted_for(here: Press, runs: set[str], *, kills: int) -> None:
    """What the provider counted bounds all: a row is called for again only if a process died with it.

    The ledger has each of its lines once, and no call that was not made.
    """
    asked = here.provider.settled()
    again = {row: (times, here.lost[row]) for row, times in asked.items() if times > 1 + here.lost[row]}
    assert not again, (
        f"{len(again)} rows were called for though no process died with them, (calls, losses): {dict(list(again.items())[:10])}"
    )
    assert here.provider.calls <= SPARE * here.rows_wanted + sum(here.lost.values())
    assert here.provider.cut_off <= kills * ROWS_IN_FLIGHT
    lines, distinct, cost, tokens = here.rows(LEDGER, id=here.batch_id)[0]
    assert lines == distinct <= here.provider.calls
    calls, spent, used, position, failed, is_done, is_free, reserved = here.rows(SPENT, id=here.batch_id)[0]
    assert (calls, spent, used) == (lines, cost, tokens)
    assert (position, is_done, is_free, reserved) == (here.rows_wanted, True, True, 0)
    assert failed == sum(is_torn(line) for line in range(1, here.rows_wanted + 1))
    found = Counter(dict(here.rows(LINES_OF_RUNS, id=here.batch_id)))
    wrong = [run for run in runs if found[run] != 1]
    assert not wrong, here.rows(LINES, id=here.batch_id, runs=wrong)


def _manifest_is_true(output: Path) -> None:
    told = json.loads((output / "_manifest.json").read_text())
    files = [file for kind in ("results", "errors") for file in told["files"][kind]]
    for file in files:
        path = output / file["file"]
        assert path.stat().st_size == file["bytes"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        assert pq.read_metadata(path).num_rows == file["rows"]
    there = {str(path.relative_to(output)) for path in output.glob("**/*.parquet") if not path.name.startswith(".")}
    assert there == {file["file"] for file in files}
    assert told["rows"] == told["rows_of_manifest"] == sum(file["rows"] for file in files)
    assert told["bytes"] == sum(file["bytes"] for file in files)
    assert not told["partial"]
    written = {path: path.stat().st_mtime_ns for path in output.glob("**/*") if path.is_file() and not path.name.startswith(".")}
    assert max(written.values()) == written[output / "_SUCCESS"]

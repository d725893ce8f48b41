"""What every benchmark keeps to: a module that returns one figure, told as a table and one JSON line."""

from __future__ import annotations

import inspect
import json
from importlib import import_module

import pytest
from rich.console import Console

from tests.benchmarks.__main__ import main, names
from tests.benchmarks.figure import Bound, Figure, Row

OF_DURABLE_JOBS = frozenset(
    {"durable_throughput", "durable_drain", "dispatch_latency", "newcomer", "ack_latency", "recovery", "fairness", "density"}
)
OF_QUOTA = frozenset({"quota_overhead", "quota_utilisation"})
OF_BATCHES = frozenset({"batch_scale"})
OF_CHATS = frozenset({"first_delta", "stream_capacity", "resume", "cancel", "isolation"})


def figure(value: float, *, bound: Bound = Bound.AT_MOST, beside: tuple[Row, ...] = ()) -> Figure:
    return Figure(name="trial", unit="ms", main=Row(what="it", value=value, target=2.0, bound=bound), beside=beside)


def test_every_benchmark_of_durable_jobs_can_be_asked_for() -> None:
    assert set(names()) >= OF_DURABLE_JOBS


def test_every_benchmark_of_quota_can_be_asked_for() -> None:
    assert set(names()) >= OF_QUOTA


def test_every_benchmark_of_batches_can_be_asked_for() -> None:
    assert set(names()) >= OF_BATCHES


def test_every_benchmark_of_chats_can_be_asked_for() -> None:
    assert set(names()) >= OF_CHATS


@pytest.mark.parametrize("name", names())
def test_a_benchmark_is_run_without_arguments_and_returns_a_figure(name: str) -> None:
    signature = inspect.signature(import_module(f"tests.benchmarks.{name}").run)

    assert not signature.parameters
    assert signature.return_annotation == "Figure"


def test_a_figure_ends_with_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    figure(1.23456).show(Console())

    last = capsys.readouterr().out.splitlines()[-1]

    assert json.loads(last) == {"name": "trial", "value": 1.235, "unit": "ms", "target": 2.0, "ok": True}


@pytest.mark.parametrize(
    ("value", "bound", "ok"),
    [(1.0, Bound.AT_MOST, True), (3.0, Bound.AT_MOST, False), (3.0, Bound.AT_LEAST, True), (1.0, Bound.AT_LEAST, False)],
)
def test_a_target_binds_from_above_or_from_below(value: float, bound: Bound, *, ok: bool) -> None:
    assert figure(value, bound=bound).ok is ok


def test_a_row_beside_that_misses_its_target_fails_the_figure() -> None:
    assert not figure(1.0, beside=(Row(what="another", value=3.0, target=2.0),)).ok


def test_an_unknown_benchmark_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no_such_thing"]) == 2
    assert "no_such_thing" in capsys.readouterr().err

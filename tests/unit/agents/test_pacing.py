"""The moments at which the offline model speaks, computed and not measured."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agents.gateways.providers.pacing import Pacing, Tempo

STEADY = Pacing(jitter=0.0, capacity=10)


def moments(pacing: Pacing, *, in_flight: int = 1, seed: int = 7, count: int = 50) -> list[float]:
    tempo = Tempo(pacing, seed=seed, in_flight=lambda: in_flight)
    return [tempo.advance() for _ in range(count)]


def test_the_first_token_comes_after_its_own_time_and_the_others_in_even_steps() -> None:
    first, second, third, *_ = moments(STEADY)

    assert [first, second, third] == pytest.approx([0.2, 0.22, 0.24])


def test_up_to_the_capacity_the_load_does_not_matter() -> None:
    assert moments(STEADY, in_flight=10) == moments(STEADY, in_flight=1)


def test_beyond_the_capacity_every_moment_moves_out_in_proportion() -> None:
    calm, busy = moments(STEADY, in_flight=10), moments(STEADY, in_flight=30)

    assert busy == pytest.approx([3 * moment for moment in calm])


def test_a_stream_that_runs_while_the_load_falls_goes_on_faster() -> None:
    load = [40]
    tempo = Tempo(STEADY, seed=7, in_flight=lambda: load[0])
    first, second = tempo.advance(), tempo.advance()
    load[0] = 1

    assert tempo.advance() - second < second - first


def test_jitter_stays_within_its_share_and_comes_from_the_seed() -> None:
    pacing = Pacing(jitter=0.5)
    steps = [after - before for before, after in zip(moments(pacing), moments(pacing)[1:], strict=False)]

    assert all(0.01 <= step <= 0.03 for step in steps)
    assert len(set(steps)) > 10
    assert moments(pacing, seed=7) == moments(pacing, seed=7) != moments(pacing, seed=8)


def test_a_slower_pace_is_slower_in_all_its_parts() -> None:
    assert moments(STEADY.slower(10)) == pytest.approx([10 * moment for moment in moments(STEADY)])


def test_the_instant_pace_is_due_at_once_under_any_load() -> None:
    assert set(moments(Pacing.instant(), in_flight=10_000)) == {0.0}
    assert Pacing.instant().is_instant
    assert not Pacing(first_token=timedelta(0)).is_instant

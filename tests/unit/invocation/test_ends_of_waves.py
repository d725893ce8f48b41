"""The end of a wave takes no thread of its process while another is gathered: threads are for shards."""

from __future__ import annotations

from uuid import UUID

import pytest

from invocation.services.in_turn import InTurn
from invocation.tasks import process, work


def test_the_end_of_a_wave_is_left_to_the_thread_that_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    acted: list[UUID] = []

    def gather(batch_id: UUID) -> None:
        acted.append(batch_id)
        if batch_id == UUID(int=1):
            work.after_wave([], str(UUID(int=2)), 1)
            assert acted == [UUID(int=1)]

    monkeypatch.setattr(process, "_gatherer", InTurn(gather))
    work.after_wave([], str(UUID(int=1)), 1)

    assert acted == [UUID(int=1), UUID(int=2)]

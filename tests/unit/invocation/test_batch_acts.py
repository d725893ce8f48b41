"""What may be done to a batch goes with its state."""

from __future__ import annotations

import pytest

from invocation.domain.batch_acts import possible


@pytest.mark.parametrize(
    ("state", "why", "failed", "acts"),
    [
        ("planning", "", 0, ["cancel"]),
        ("planned", "", 0, ["pause", "cancel"]),
        ("running", "", 3, ["pause", "cancel"]),
        ("paused", "asked", 0, ["resume", "cancel"]),
        ("paused", "failure_threshold", 3, ["resume", "retry-failed", "cancel"]),
        ("paused", "window", 0, ["pause", "cancel"]),
        ("gathering", "", 0, ["cancel"]),
        ("completed", "", 0, []),
        ("completed", "", 3, ["retry-failed"]),
        ("failed", "lost_worker", 3, []),
        ("failed", "dataset_unwritten", 3, ["resume"]),
        ("cancelled", "", 3, []),
    ],
)
def test_what_may_be_done_goes_with_the_state(state: str, why: str, failed: int, acts: list[str]) -> None:
    pause, fault = ("", why) if state == "failed" else (why, "")
    assert possible(state, pause=pause, fault=fault, failed=failed) == acts

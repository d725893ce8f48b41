"""The mender: whoever stops leading is not kept by a mend that hangs."""

from __future__ import annotations

import threading

import pytest

from invocation.services import mending
from invocation.services.mending import Mender


class Hanging(Mender):
    """Its mend ends when the test lets it."""

    def __init__(self) -> None:
        super().__init__(mended=lambda: None)
        self.begun, self.released = threading.Event(), threading.Event()

    def mend(self) -> int:
        self.begun.set()
        self.released.wait(60)
        return 0


def test_a_mend_that_hangs_does_not_keep_the_dispatcher_from_standing_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "ENDED_WITHIN_S", 0.1)
    mender = Hanging()
    release = threading.Timer(20, mender.released.set)
    release.start()

    with mender:
        assert mender.begun.wait(20)
    is_released = mender.released.is_set()
    release.cancel()
    mender.released.set()
    mender._thread.join()

    assert not is_released
